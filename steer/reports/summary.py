"""The summary of a report: four figures and one sentence, which claims no more than the intervals allow."""

from collections.abc import Sequence
from dataclasses import dataclass

from steer.metrics.diversity.diversity import MIN_TEXTS
from steer.reports.report import Report
from steer.runs.sample import Sample
from steer.statistics.estimate import MIN_COUNTED, Estimate

MARGIN = 0.1
"""Texts count as as varied as real ones if the interval of their relative diversity lies within 1 ± this."""

_NAMED = 3  # attributes that the sentence names


@dataclass(frozen=True)
class KeyFigure:
    """One of the four figures.

    Attributes:
        label: its label.
        value: the value with its interval, or `not known`.
        meaning: one sentence: what it measures, or what would bring it.
    """

    label: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Summary:
    """What a report opens with.

    Attributes:
        clauses: the parts of the sentence, in the order of the figures.
        figures: success, diversity, pressure, and what else moved.
    """

    clauses: tuple[str, str, str, str]
    figures: tuple[KeyFigure, KeyFigure, KeyFigure, KeyFigure]

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
    parts = (_success(samples, report), _diversity(report), _pressure(report), _moved(report))
    first, second, third, fourth = parts
    return Summary((first[0], second[0], third[0], fourth[0]), (first[1], second[1], third[1], fourth[1]))


def _success(samples: Sequence[Sample], report: Report) -> tuple[str, KeyFigure]:
    success = _find(report, "success", "success")
    if success is not None:
        clause = f"{_hits(success)} of {report.n} texts have what you asked for"
        return clause, KeyFigure("success", str(success), "Share of texts in which the judge finds what you asked for.")
    if not any(dose > 0 for sample in samples[:1] for dose in sample.doses.values()):
        return f"{report.n} texts, no concept was asked for", KeyFigure("success", "-", "No concept was asked for.")
    needs = "texts with what you asked for and texts without (--positive, --background)"
    return "success is not known without a judge", KeyFigure("success", "not known", f"A judge needs {needs}.")


def _diversity(report: Report) -> tuple[str, KeyFigure]:
    success = _find(report, "success", "success")
    section, texts = ("diversity", "texts") if success is None else ("diversity of successes", "successful texts")
    diversity = _find(report, section, "Vendi 1, words")
    if diversity is None:
        needs = f"Diversity needs {MIN_TEXTS} {texts}."
        return "diversity is not known", KeyFigure("diversity", "not known", needs)
    meaning = f"Effective number of different texts (Vendi score over words) among {diversity.n} {texts}"
    if not diversity.perfect:
        clause = f"{diversity.value:.2g} different texts in effect"
        meaning += f"; give {diversity.n} or more real texts to compare with (--positive)."
        return clause, KeyFigure("diversity", str(diversity), meaning)
    meaning += f"; as many real texts: {diversity.perfect:.3g}."
    return compare_diversity(diversity), KeyFigure("diversity", str(diversity), meaning)


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


def _pressure(report: Report) -> tuple[str, KeyFigure]:
    pressure = _find(report, "pressure", "pressure")
    if pressure is None:
        return "pressure is not known", KeyFigure("pressure", "not known", "Pressure needs the model (--model).")
    meaning = "Mean KL(steered ‖ base) in nats per token: how far steering pushed the model."
    digits = ".2f" if pressure.value >= 0.01 or not pressure.value else ".1g"
    return f"pushed {pressure.value:{digits}} nats a token", KeyFigure("pressure", str(pressure), meaning)


def _moved(report: Report) -> tuple[str, KeyFigure]:
    fidelity = report.fidelity
    if fidelity is None:
        success = _find(report, "success", "success")
        if report.evaluation_set.reference is None:
            needs = "What else moved needs labelled texts: see `steer fidelity --reference`."
        elif success is not None and _hits(success) < MIN_COUNTED:
            needs = f"What else moved needs {MIN_COUNTED} whole texts that have what you asked for: sample more."
        else:
            needs = next((note for note in report.notes if note.startswith("no fidelity")), "Not measured.")
        return "what else moved is not known", KeyFigure("what else moved", "not known", needs)
    events = {event.event: event.kept for event in fidelity.events}
    kept = {each.attribute: each.kept for each in fidelity.attributes if each.attribute not in events} | events
    moved = [name for name, as_before in kept.items() if not as_before]
    meaning = "Attributes that were not steered and whose frequencies differ from the truth by more than chance."
    figure = KeyFigure("what else moved", f"{len(moved)} of {len(kept)} attributes", meaning)
    if not kept:
        return "nothing else to compare", figure
    if not moved:
        return "nothing else moved measurably", figure
    rest = f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
    return f"{', '.join(moved[:_NAMED])}{rest} moved too", figure


def _hits(success: Estimate) -> int:
    return round(success.value * success.n)


def _find(report: Report, section: str, name: str) -> Estimate | None:
    return next((figure for figure in report.sections.get(section, ()) if figure.name == name), None)
