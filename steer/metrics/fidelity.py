"""Fidelity: how close what was not steered stays to what is true where the steered concepts are."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steer.judges.almanac import Almanac, conditions_of_doses
from steer.judges.reference import Reading, Reference, format_condition, matches
from steer.runs.sample_set import SampleSet, texts_of
from steer.statistics.estimate import FEWEST_COUNTED, Estimate
from steer.statistics.exact_tests import of_rate, of_two_rates
from steer.statistics.intervals import CONFIDENCE, rate
from steer.statistics.share_distance import jensen_shannon, measured, total_variation
from vectors.common.errors import InputError
from vectors.common.validation import quote


@dataclass(frozen=True)
class AttributeFidelity:
    """One attribute's distance from the truth.

    Attributes:
        attribute: its name.
        tv: total variation; `perfect` is the noise floor at that n, `empty` a sampler stuck on the commonest value.
        js: Jensen-Shannon divergence, nats, likewise.
        ceiling: a perfect sampler's total variation stays below it 39 times in 40.
        unread: share of the texts that show no value.
        counts: how many texts show each value.
        truth: the true share of each value.
        known_from: how many texts that was counted in; `None` where it is exact.
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
        """Whether a perfect sampler shows as much more than once in 40 times; nothing read is nothing kept."""
        return self.tv.low == 0.0 and self.unread.value < 1.0


@dataclass(frozen=True)
class EventFidelity:
    """One event's rate beside its true probability, both where `given` holds.

    Attributes:
        event: its name.
        observed: its rate in the texts.
        truth: its probability and the interval of that, which is a point where it is known exactly.
        p: chance that a perfect sampler shows a rate as unlikely as this, by an exact test.
    """

    event: str
    observed: Estimate
    truth: tuple[float, float, float]
    p: float

    @property
    def kept(self) -> bool:
        """Whether a perfect sampler shows something as unlikely more than once in 20 times."""
        return self.p > 1 - CONFIDENCE


@dataclass(frozen=True)
class Fidelity:
    """How true a set of texts is to its world.

    Attributes:
        given: what the texts were to have; only those that have it count.
        n: how many have it.
        asked: how many texts there were.
        cut: how many of them were cut at the longest length, and are left out where the truth is of whole texts.
        attributes: every attribute that was not steered.
        events: rare events.
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
            "given": {name: value for name, value in self.given.items()},
            "n": self.n,
            "asked": self.asked,
            "cut": self.cut,
            "attributes": [
                {
                    "attribute": each.attribute,
                    "tv": each.tv.to_dict(),
                    "js": each.js.to_dict(),
                    "ceiling": each.ceiling,
                    "kept": each.kept,
                    "unread": each.unread.to_dict(),
                    "counts": {str(value): count for value, count in each.counts.items()},
                    "truth": {str(value): share for value, share in each.truth.items()},
                    "known_from": each.known_from,
                }
                for each in self.attributes
            ],
            "events": [
                {
                    "event": each.event,
                    "observed": each.observed.to_dict(),
                    "truth": each.truth,
                    "p": each.p,
                    "kept": each.kept,
                }
                for each in self.events
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
    """Return how close each attribute's shares stay to the truth, among the texts that have what is given.

    Args:
        samples: a run, or texts.
        reference: the world they are measured against; by default the Almanac.
        given: what the texts were steered to, such as `{"topic": "waterfall"}`; by default what the run's doses say.
        steered_too: attributes that were steered besides those given, such as away from a value.
        attributes: which to measure; by default all that were not steered.
        seed: of the simulated samplers that the intervals come from.

    Raises:
        InputError: texts without doses and no `given`, a condition that never happens, or too few texts that meet it.
    """
    reference = Almanac() if reference is None else reference
    texts = texts_of(samples)
    touched = set(steered_too)
    if given is None:
        if not isinstance(samples, SampleSet) or not len(samples):
            raise InputError("these texts say nothing of what they were steered to: pass given=, {} for nothing")
        given, more = conditions_of_doses(samples[0].doses)
        touched |= more
    touched |= set(given)
    reference.shares(reference.attributes[0], given)  # refuses what the world does not have
    chosen = [name for name in reference.attributes if name not in touched] if attributes is None else list(attributes)
    if unknown := [name for name in chosen if name not in reference.attributes]:
        raise InputError(f"no attribute {quote(unknown[0])}: choose from {', '.join(reference.attributes)}")
    whole = [
        text
        for place, text in enumerate(texts)
        if not (reference.whole and isinstance(samples, SampleSet) and samples[place].finish != "eos")
    ]
    cut = len(texts) - len(whole)
    readings = [each for each in map(reference.read, whole) if matches(each, given)]
    if len(readings) < FEWEST_COUNTED:
        left = f" ({cut} that were cut left out)" if cut else ""
        raise InputError(
            f"{len(readings)} of {len(texts)} texts{left} have what is asked for ({format_condition(given)}), "
            f"{FEWEST_COUNTED} are "
            f"needed: sample more{', or longer' if cut else ''}, or steer harder"
        )
    there = [name for name in chosen if any(name in each for each in readings)]
    found = tuple(_attribute(name, readings, reference, given, seed=seed) for name in there)
    events = tuple(_event(each) for each in found if all(isinstance(value, bool) for value in each.truth))
    return Fidelity(dict(given), len(readings), len(texts), cut, found, events)


def _attribute(
    name: str, readings: Sequence[Reading], reference: Reference, given: Mapping[str, Any], *, seed: int
) -> AttributeFidelity:
    shares, known_from = reference.shares(name, given)
    having = [each[name] for each in readings if name in each]
    counted = Counter(value for value in having if value is not None)
    values = [*shares, *(value for value in counted if value not in shares)]
    truth = np.array([shares.get(value, 0.0) for value in values])
    counts = np.array([counted.get(value, 0) for value in values])
    n = counted.total()
    unread, low, high = rate(len(having) - n, len(having))
    silent = Estimate(
        name=f"no {name}", value=unread, low=low, high=high, n=len(having), perfect=reference.unread(name, given),
        empty=1.0,
    )  # fmt: skip
    if not n:  # what no text shows is as far from the truth as can be, or not: nothing is known
        tv, js = (
            Estimate(name=f"{key} of {name}", value=most, low=0.0, high=most, n=len(having))
            for key, most in (("TV", 1.0), ("JS", math.log(2)))
        )
        return AttributeFidelity(name, tv, js, 1.0, silent, {}, dict(shares), known_from)
    stuck = np.eye(len(values))[int(truth.argmax())]
    made = {
        key: measured(counts, truth, measure=measure, known_from=known_from, seed=seed)
        for key, measure in (("TV", total_variation), ("JS", jensen_shannon))
    }
    tv, js = (
        Estimate(
            name=f"{key} of {name}",
            value=found.value,
            low=found.low,
            high=found.high,
            n=n,
            perfect=found.floor,
            empty=float(measure(stuck, truth)),
        )
        for (key, found), measure in zip(made.items(), (total_variation, jensen_shannon), strict=True)
    )
    return AttributeFidelity(name, tv, js, made["TV"].ceiling, silent, dict(counted), dict(shares), known_from)


def _event(found: AttributeFidelity) -> EventFidelity:
    """A coin's rate, and the truth with its own interval where it was counted in texts."""
    hits, n = found.counts.get(True, 0), found.tv.n
    share, low, high = rate(hits, n)
    true = found.truth.get(True, 0.0)
    observed = Estimate(name=found.attribute, value=share, low=low, high=high, n=n, perfect=true, empty=0.0)
    if found.known_from is None:
        return EventFidelity(found.attribute, observed, (true, true, true), of_rate(hits, n, true))
    real = round(true * found.known_from)
    return EventFidelity(
        found.attribute, observed, rate(real, found.known_from), of_two_rates(hits, n, real, found.known_from)
    )
