"""The summary of a report: four figures and one sentence, which claims no more than the intervals allow."""

from collections.abc import Sequence
from dataclasses import dataclass

from steer.metrics.diversity.diversity import MIN_TEXTS
from steer.reports.report import Report
from steer.runs.sample import Sample
from steer.statistics.estimate import MIN_COUNTED, Estimate
from steer.statistics.intervals import CONFIDENCE

MARGIN = 0.1
"""Texts are called as varied as real ones if the interval of their relative diversity lies within 1 ± this."""

_NAMED = 3  # attributes that the sentence names
_ERRORS = 1 - CONFIDENCE  # share of unchanged attributes that seem to have moved


@dataclass(frozen=True)
class KeyFigure:
    """One of the four figures.

    Attributes:
        label: its label.
        value: the value with its interval, or `not known`.
        clause: its part of the sentence.
        meaning: one sentence: what the figure measures, or what is missing to measure it.
    """

    label: str
    value: str
    clause: str
    meaning: str


@dataclass(frozen=True)
class Summary:
    """The first lines of a report.

    Attributes:
        figures: success, diversity, pressure, and what else moved.
    """

    figures: tuple[KeyFigure, KeyFigure, KeyFigure, KeyFigure]

    @property
    def clauses(self) -> tuple[str, ...]:
        """The parts of the sentence, in the order of the figures."""
        return tuple(figure.clause for figure in self.figures)

    @property
    def sentence(self) -> str:
        """All clauses as one sentence."""
        return "; ".join(self.clauses)


def summarise(samples: Sequence[Sample], report: Report) -> Summary:
    """Return the four figures of a report and the sentence that says what they mean together.

    Args:
        samples: the run.
        report: its report; that of `first_figures` is enough.
    """
    return Summary((_success(samples, report), _diversity(report), _pressure(report), _other_attributes(report)))


def _success(samples: Sequence[Sample], report: Report) -> KeyFigure:
    label, success = "success", _find(report, "success", "success")
    if success is not None:
        clause = f"{_hits(success)} of {report.n} texts have what you asked for"
        return KeyFigure(label, str(success), clause, "Share of texts in which the judge finds what you asked for.")
    if not any(dose > 0 for sample in samples[:1] for dose in sample.doses.values()):
        return KeyFigure(label, "-", f"{report.n} texts, no concept was asked for", "No concept was asked for.")
    missing = "A judge needs texts with what you asked for and texts without (--positive, --background)."
    return KeyFigure(label, "not known", "success is not known without a judge", missing)


def _diversity(report: Report) -> KeyFigure:
    label, success = "diversity", _find(report, "success", "success")
    section, texts = ("diversity", "texts") if success is None else ("diversity of successes", "successful texts")
    diversity = _find(report, section, "Vendi 1, words")
    if diversity is None:
        return KeyFigure(label, "not known", "diversity is not known", f"Diversity needs {MIN_TEXTS} {texts}.")
    meaning = f"Effective number of different texts (Vendi score over words) among {diversity.n} {texts}"
    if not diversity.perfect:
        clause = f"{diversity.value:.2g} different texts in effect"
        meaning += f"; give {diversity.n} or more real texts to compare with (--positive)."
        return KeyFigure(label, str(diversity), clause, meaning)
    meaning += f"; as many real texts: {diversity.perfect:.3g}."
    return KeyFigure(label, str(diversity), compare_diversity(diversity), meaning)


def compare_diversity(diversity: Estimate) -> str:
    """Return how an estimate of diversity compares with that of real texts, as far as its interval says.

    >>> compare_diversity(Estimate(name="Vendi", value=8.2, low=7.8, high=8.6, n=20, perfect=8.1))
    'as varied as real texts'
    >>> compare_diversity(Estimate(name="Vendi", value=5.0, low=3.0, high=9.0, n=20, perfect=8.0))
    'perhaps as varied as real texts (38 % to 112 % of their diversity)'
    """
    assert diversity.perfect
    low, high = diversity.low / diversity.perfect, diversity.high / diversity.perfect
    share = f"{low:.0%} to {high:.0%} of their diversity".replace("%", " %")
    if high < 1:
        return f"less varied than real texts ({share})"
    if low > 1:
        return f"more varied than real texts ({share})"
    if low >= 1 - MARGIN and high <= 1 + MARGIN:
        return "as varied as real texts"
    return f"perhaps as varied as real texts ({share})"


def _pressure(report: Report) -> KeyFigure:
    label, pressure = "pressure", _find(report, "pressure", "pressure")
    if pressure is None:
        return KeyFigure(label, "not known", "pressure is not known", "Pressure needs the model (--model).")
    digits = ".2f" if pressure.value >= 0.01 or not pressure.value else ".1g"
    meaning = "Mean KL(steered ‖ base) in nats per token: how far steering pushed the model."
    return KeyFigure(label, str(pressure), f"pushed {pressure.value:{digits}} nats a token", meaning)


def _other_attributes(report: Report) -> KeyFigure:
    label, fidelity = "what else moved", report.fidelity
    if fidelity is None:
        return KeyFigure(label, "not known", "what else moved is not known", _why_no_fidelity(report))
    events = {event.event: event.kept for event in fidelity.events}
    unchanged = {row.attribute: row.kept for row in fidelity.attributes if row.attribute not in events} | events
    moved = [name for name, is_unchanged in unchanged.items() if not is_unchanged]
    if not unchanged:
        clause = "nothing else to compare"
    elif not moved:
        clause = "nothing else moved measurably" if fidelity.given else "no attribute moved measurably"
    else:
        rest = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
        by_chance = f"{len(moved)} of {len(unchanged)} attributes; by chance up to {_ERRORS * len(unchanged):.1g}"
        clause = f"{', '.join(moved[:_NAMED])}{rest} moved{' too' if fidelity.given else ''} ({by_chance})"
    meaning = "Attributes that were not steered and whose frequencies differ from the truth by more than chance."
    return KeyFigure(label, f"{len(moved)} of {len(unchanged)} attributes", clause, meaning)


def _why_no_fidelity(report: Report) -> str:
    success = _find(report, "success", "success")
    if report.evaluation_set.reference is None:
        return "What else moved needs labelled texts: see `steer fidelity --reference`."
    if success is not None and _hits(success) < MIN_COUNTED:
        return f"What else moved needs {MIN_COUNTED} whole texts that have what you asked for: sample more."
    return next((note for note in report.notes if note.startswith("no fidelity")), "Not measured.")


def _hits(success: Estimate) -> int:
    return round(success.value * success.n)


def _find(report: Report, section: str, name: str) -> Estimate | None:
    return next((figure for figure in report.sections.get(section, ()) if figure.name == name), None)
