"""Fidelity: how close the attributes that were not steered stay to their true shares, given the steered ones."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steer.judges.almanac import Almanac, conditions_of_doses
from steer.judges.reference import Reading, Reference, format_condition, matches
from steer.runs.sample_set import SampleSet, texts_of
from steer.statistics.estimate import MIN_COUNTED, Estimate
from steer.statistics.exact_tests import binomial_p_value, fisher_p_value
from steer.statistics.intervals import CONFIDENCE, rate
from steer.statistics.share_distance import jensen_shannon, share_distance, total_variation
from vectors.common.errors import InputError
from vectors.common.validation import list_names, quote


@dataclass(frozen=True)
class AttributeFidelity:
    """The distance between observed and true shares of one attribute.

    Attributes:
        attribute: its name.
        tv: total variation; `perfect` is the noise floor with as many texts, `empty` that of a sampler that always
            writes the most common value.
        js: Jensen-Shannon divergence in nats, likewise.
        ceiling: 97.5th percentile of the total variation of a perfect sampler.
        unread: share of the texts that show no value.
        counts: number of texts with each value.
        truth: true share of each value.
        known_from: number of reference texts that the truth was counted in; `None` if it is exact.
    """

    attribute: str
    tv: Estimate
    js: Estimate
    ceiling: float
    unread: Estimate
    counts: dict[Any, int]
    truth: dict[Any, float]
    known_from: int | None

    @property
    def kept(self) -> bool:
        """Whether the shares are consistent with the true ones at 95 %; false if no text shows a value."""
        return self.tv.low == 0.0 and self.unread.value < 1.0


@dataclass(frozen=True)
class EventFidelity:
    """The observed rate of an event and its true probability, both under the condition steered to.

    Attributes:
        event: its name.
        observed: its rate in the texts.
        truth: its true probability with the bounds of its interval; all three are equal if it is exact.
        p: p-value of an exact test that both are equal.
    """

    event: str
    observed: Estimate
    truth: tuple[float, float, float]
    p: float

    @property
    def kept(self) -> bool:
        """Whether the rate is consistent with the true one: a p-value above 5 %."""
        return self.p > 1 - CONFIDENCE


@dataclass(frozen=True)
class Fidelity:
    """How close a set of texts stays to the true shares of a world.

    Attributes:
        given: the condition steered to; only texts that meet it are measured.
        n: number of texts that meet it.
        asked: number of all texts.
        cut: number of texts left out because they were cut at the maximum length, if the truth is about whole texts.
        attributes: the attributes that were not steered.
        events: those of them that are true or false, as events.
    """

    given: dict[str, Any]
    n: int
    asked: int
    cut: int
    attributes: tuple[AttributeFidelity, ...]
    events: tuple[EventFidelity, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "given": dict(self.given),
            "n": self.n,
            "asked": self.asked,
            "cut": self.cut,
            "attributes": [
                {
                    "attribute": row.attribute,
                    "tv": row.tv.to_dict(),
                    "js": row.js.to_dict(),
                    "ceiling": row.ceiling,
                    "kept": row.kept,
                    "unread": row.unread.to_dict(),
                    "counts": {str(value): count for value, count in row.counts.items()},
                    "truth": {str(value): share for value, share in row.truth.items()},
                    "known_from": row.known_from,
                }
                for row in self.attributes
            ],
            "events": [
                {
                    "event": row.event,
                    "observed": row.observed.to_dict(),
                    "truth": tuple(row.truth),
                    "p": row.p,
                    "kept": row.kept,
                }
                for row in self.events
            ],
        }


def fidelity(
    samples: SampleSet | Sequence[str],
    reference: Reference | None = None,
    *,
    given: Mapping[str, Any] | None = None,
    steered_too: Collection[str] = (),
    attributes: Collection[str] | None = None,
    seed: int = 0,
) -> Fidelity:
    """Return how close each attribute's shares are to the true ones, among the texts that meet the condition.

    Args:
        samples: a run, or texts.
        reference: the world with the true shares; by default the Almanac.
        given: the condition steered to, such as `{"topic": "waterfall"}`; by default that of the run's doses.
        steered_too: other attributes that were steered, such as away from a value.
        attributes: names of the attributes to measure; by default all that were not steered.
        seed: of the simulations behind the intervals.

    Raises:
        InputError: texts without doses and no `given`, a condition of probability zero, or too few texts that meet it.
    """
    reference = Almanac() if reference is None else reference
    texts = texts_of(samples)
    touched = set(steered_too)
    if given is None:
        if not isinstance(samples, SampleSet) or not len(samples):
            raise InputError("the condition that these texts were steered to is not known: pass given=, {} for none")
        given, steered = conditions_of_doses(samples[0].doses)
        touched |= steered
    touched |= set(given)
    reference.shares(reference.attributes[0], given)  # raises for conditions that the world does not have
    names = [name for name in reference.attributes if name not in touched] if attributes is None else list(attributes)
    if unknown := [name for name in names if name not in reference.attributes]:
        raise InputError(f"no attribute {quote(unknown[0])}: choose from {list_names(reference.attributes)}")
    whole_texts = texts
    if reference.whole and isinstance(samples, SampleSet):
        whole_texts = [sample.text for sample in samples if sample.finish == "eos"]
    cut = len(texts) - len(whole_texts)
    readings = [reading for reading in map(reference.read, whole_texts) if matches(reading, given)]
    if len(readings) < MIN_COUNTED:
        without = f" (without {cut} that were cut)" if cut else ""
        raise InputError(
            f"{len(readings)} of {len(texts)} texts{without} have what was asked for ({format_condition(given)}), "
            f"{MIN_COUNTED} are needed: sample more{', or longer' if cut else ''}, or raise the doses"
        )
    present = [name for name in names if any(name in reading for reading in readings)]
    rows = tuple(_attribute(name, readings, reference, given, seed=seed) for name in present)
    events = tuple(_event(row) for row in rows if all(isinstance(value, bool) for value in row.truth))
    return Fidelity(dict(given), len(readings), len(texts), cut, rows, events)


def _attribute(
    name: str, readings: Sequence[Reading], reference: Reference, given: Mapping[str, Any], *, seed: int
) -> AttributeFidelity:
    shares, known_from = reference.shares(name, given)
    values_read = [reading[name] for reading in readings if name in reading]
    counter = Counter(value for value in values_read if value is not None)
    values = [*shares, *(value for value in counter if value not in shares)]
    truth = np.array([shares.get(value, 0.0) for value in values])
    counts = np.array([counter.get(value, 0) for value in values])
    n = counter.total()
    unread = Estimate(
        name=f"no {name}",
        n=len(values_read),
        perfect=reference.unread(name, given),
        empty=1.0,
        **rate(len(values_read) - n, len(values_read))._asdict(),
    )
    if not n:  # nothing is known of the shares: any distance is possible
        tv, js = (
            Estimate(name=f"{key} of {name}", value=largest, low=0.0, high=largest, n=len(values_read))
            for key, largest in (("TV", 1.0), ("JS", math.log(2)))
        )
        return AttributeFidelity(name, tv, js, 1.0, unread, {}, dict(shares), known_from)
    most_common = np.eye(len(values))[int(truth.argmax())]
    measures = {"TV": total_variation, "JS": jensen_shannon}
    distances = {
        key: share_distance(counts, truth, measure=measure, known_from=known_from, seed=seed)
        for key, measure in measures.items()
    }
    tv, js = (
        Estimate(
            name=f"{key} of {name}",
            value=distance.value,
            low=distance.low,
            high=distance.high,
            n=n,
            perfect=distance.floor,
            empty=float(measures[key](most_common, truth)),
        )
        for key, distance in distances.items()
    )
    return AttributeFidelity(name, tv, js, distances["TV"].ceiling, unread, dict(counter), dict(shares), known_from)


def _event(row: AttributeFidelity) -> EventFidelity:
    """Return the rate of `True`, and its true probability with an interval if that was counted in texts."""
    hits, n = row.counts.get(True, 0), row.tv.n
    truth = row.truth.get(True, 0.0)
    observed = Estimate(name=row.attribute, n=n, perfect=truth, empty=0.0, **rate(hits, n)._asdict())
    if row.known_from is None:
        return EventFidelity(row.attribute, observed, (truth, truth, truth), binomial_p_value(hits, n, truth))
    real = round(truth * row.known_from)
    p = fisher_p_value(hits, n, real, row.known_from)
    return EventFidelity(row.attribute, observed, rate(real, row.known_from), p)
