"""What a steering direction itself finds in texts: never a judge, but what a judge is compared with."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from steer.composition.steering_point import SteeringPoint
from steer.judges.success import Judges, accepted
from steer.metrics.typicality import token_rows
from steer.runs.sample_set import SampleSet, texts_of
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import difference, rate
from vectors.activations.text_activations import text_means
from vectors.common.errors import InputError
from vectors.common.option_names import ranks_by_gain
from vectors.decoding.token_costs import compute_costs
from vectors.model.residual_model import ResidualModel

FEWEST = 20
"""Texts of each kind that a threshold is taken from, at least."""


class Probe:
    """Whether a steering point finds its concept in a text, at the threshold that best tells two sets apart.

    A point of means is asked for the projection of the text's mean activation, one of learned directions for the nats
    by which its shift makes the text likelier.

    Args:
        model: the model of the point.
        point: what was switched on.
        positive: texts that have what the point adds.
        background: texts that need not.

    Raises:
        InputError: fewer than 20 texts of a kind.
    """

    def __init__(
        self, model: ResidualModel, point: SteeringPoint, positive: Sequence[str], background: Sequence[str]
    ) -> None:
        if min(len(positive), len(background)) < FEWEST:
            raise InputError(
                f"a probe has {len(positive)} positive and {len(background)} background texts: give {FEWEST} or more"
            )
        self.model, self.point = model, point
        self._positive, self._background = tuple(positive), tuple(background)

    @cached_property
    def threshold(self) -> float:
        """The score above which a text counts as having the concept: the best mean share of right answers."""
        positive, background = self.scores(self._positive), self.scores(self._background)
        ranked = np.unique(np.concatenate([positive, background]))
        middles = (ranked[1:] + ranked[:-1]) / 2 if len(ranked) > 1 else ranked
        right = [(positive > at).mean() + (background <= at).mean() for at in middles]
        return float(middles[int(np.argmax(right))])

    def scores(self, texts: Sequence[str]) -> Float64[np.ndarray, " texts"]:
        """Return how much of the concept the point finds in each text."""
        if any(ranks_by_gain(vector.method) for vector in self.point.vectors):
            prefix, rows = token_rows(self.model, texts)
            shifts = {layer: delta.expand(len(rows), -1) for layer, delta in self.point.deltas.items()}
            shifts = {layer: rows_.to(self.model.device) for layer, rows_ in shifts.items()}
            found = compute_costs(self.model, shifts, prefix=prefix, generated=rows, positions=self.point.positions)
            return np.array([float((cost.logprob_steered - cost.logprob_base).sum()) for cost in found])
        scores = np.zeros(len(texts))
        for places, means in text_means(self.model, texts, self.point.layers):
            for layer, delta in self.point.deltas.items():
                scores[places] += (means[layer].cpu().double() @ delta.double()).numpy()
        return scores

    def accepted(self, texts: Sequence[str]) -> np.ndarray:
        """Return for each text whether the point finds its concept in it."""
        found: np.ndarray = self.scores(texts) > self.threshold
        return found


def overoptimised(
    samples: SampleSet | Sequence[str], judges: Judges, probe: Probe, *, real: Sequence[str] | None = None
) -> Estimate:
    """Return by how much oftener the steering point itself finds the concept than the judges do.

    A direction is no judge of what it steers: texts pushed along it look full of the concept to it, whatever they say.

    The interval is that of the difference between the two rates of disagreement.

    Args:
        samples: a run, or texts.
        judges: who is believed.
        probe: of the point that was switched on.
        real: real texts with the concept, which neither judge nor probe was made from: what perfect samples would show.

    Raises:
        InputError: no texts.
    """
    texts = texts_of(samples)
    if not texts:
        raise InputError("there are no texts to ask about: give at least one")
    only_probe, only_judges = (rate(int(texts_.sum()), len(texts)) for texts_ in _disagreements(texts, judges, probe))
    excess, perfect = difference(only_probe, only_judges), None
    if real:
        only, missed = _disagreements(real, judges, probe)
        perfect = float(only.mean() - missed.mean())
    return Estimate(name="probe less judge", n=len(texts), perfect=perfect, empty=1.0, **excess._asdict())


def _disagreements(texts: Sequence[str], judges: Judges, probe: Probe) -> tuple[np.ndarray, np.ndarray]:
    """Which texts the probe alone accepts, and which the judges alone."""
    probed, judged = probe.accepted(texts), accepted(texts, judges)
    return probed & ~judged, judged & ~probed
