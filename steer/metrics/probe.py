"""The steering direction as a probe of its own concept: never a judge, but compared with the judges."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from steer.composition.steering_point import SteeringPoint
from steer.judges.success import Judges, accepted
from steer.metrics.typicality import token_rows
from steer.runs.sample_set import SampleSet, texts_of
from steer.statistics.estimate import Estimate
from steer.statistics.intervals import difference, rate
from vectors.activations.text_activations import encode_texts, text_means
from vectors.common.errors import InputError
from vectors.common.option_names import ranks_by_gain
from vectors.decoding.token_costs import token_logprobs
from vectors.model.residual_model import ResidualModel

MIN_TEXTS = 20
"""Minimum number of texts of each class that the threshold is fit on."""


class Probe:
    """A classifier by the steering point itself, with the threshold that best separates two sets of texts.

    For a point of mean directions, a text's score is the projection of its mean activation. For a point of learned
    directions, it is the gain in the text's log-probability, in nats, under the shift.

    Args:
        model: the model of the point.
        point: the steering point.
        positive: texts that have what the point adds.
        background: texts that need not have it.
        base_nll: for some texts, the negative log-likelihood of each token under the base model, where it has been
            computed already; see `real_costs`.

    Raises:
        InputError: fewer than 20 texts of a class.
    """

    def __init__(
        self,
        model: ResidualModel,
        point: SteeringPoint,
        positive: Sequence[str],
        background: Sequence[str],
        *,
        base_nll: Mapping[str, Float64[np.ndarray, " tokens"]] | None = None,
    ) -> None:
        if min(len(positive), len(background)) < MIN_TEXTS:
            raise InputError(
                f"a probe has {len(positive)} positive and {len(background)} background texts: "
                f"give {MIN_TEXTS} or more of each"
            )
        self.model, self.point = model, point
        self._positive, self._background = tuple(positive), tuple(background)
        self._base_nll = base_nll or {}

    @cached_property
    def threshold(self) -> float:
        """The score with the best balanced accuracy; texts above it are accepted."""
        positive, background = self.scores(self._positive), self.scores(self._background)
        ranked = np.unique(np.concatenate([positive, background]))
        candidates = (ranked[1:] + ranked[:-1]) / 2 if len(ranked) > 1 else ranked
        right = [(positive > candidate).mean() + (background <= candidate).mean() for candidate in candidates]
        return float(candidates[int(np.argmax(right))])

    def scores(self, texts: Sequence[str]) -> Float64[np.ndarray, " texts"]:
        """Return the score of each text: a projection, or a gain in nats."""
        if any(ranks_by_gain(vector.method) for vector in self.point.vectors):
            prefix, rows = token_rows(self.model, texts)
            shifts = {
                site: delta.expand(len(rows), -1).to(self.model.device) for site, delta in self.point.deltas.items()
            }
            steered = token_logprobs(self.model, shifts, prefix=prefix, generated=rows)
            base = self._base_logprobs(texts, prefix, rows)
            return np.array([float((steered[index] - base[index]).sum()) for index in range(len(rows))])
        scores = np.zeros(len(texts))
        for indices, means in text_means(self.model, encode_texts(self.model, texts), self.point.layers):
            for layer in self.point.layers:
                scores[indices] += (means[layer].cpu().double() @ self.point.main_shift(layer).double()).numpy()
        return scores

    def _base_logprobs(
        self, texts: Sequence[str], prefix: Sequence[int], rows: Sequence[Sequence[int]]
    ) -> list[Float64[np.ndarray, " tokens"]]:
        """Return the base model's token log-probabilities; only texts whose costs are unknown need a forward."""
        logprobs = {
            index: -self._base_nll[text]
            for index, (text, row) in enumerate(zip(texts, rows, strict=True))
            if len(self._base_nll.get(text, ())) == len(row)  # the costs of a longer text may be cut
        }
        new = [index for index in range(len(rows)) if index not in logprobs]
        if new:
            computed = token_logprobs(self.model, {}, prefix=prefix, generated=[rows[index] for index in new])
            logprobs.update(zip(new, computed, strict=True))
        return [logprobs[index] for index in range(len(rows))]

    def accepted(self, texts: Sequence[str]) -> np.ndarray:
        """Return for each text whether its score is above the threshold."""
        written = [index for index, text in enumerate(texts) if text.strip()]  # a blank text has nothing to score
        above: np.ndarray = np.zeros(len(texts), dtype=bool)
        if written:
            above[written] = self.scores([texts[index] for index in written]) > self.threshold
        return above


def overoptimisation(
    samples: SampleSet | Sequence[str], judges: Judges, probe: Probe, *, real: Sequence[str] | None = None
) -> Estimate:
    """Return the share of texts that the probe accepts minus the share that the judges accept.

    A direction is no judge of what it steers: it scores texts that were pushed along it highly, whatever they say. The
    interval is that of the difference between the shares accepted by the probe only and by the judges only.

    Args:
        samples: a run, or texts.
        judges: the independent judges.
        probe: of the steering point of the run.
        real: real texts with the concept that neither judges nor probe were fit on; they give `perfect`.

    Raises:
        InputError: no texts.
    """
    texts = texts_of(samples)
    if not texts:
        raise InputError("there are no texts to measure: give at least one")
    probe_only, judges_only = (rate(int(hits.sum()), len(texts)) for hits in _disagreements(texts, judges, probe))
    excess, perfect = difference(probe_only, judges_only), None
    if real:
        real_probe_only, real_judges_only = _disagreements(real, judges, probe)
        perfect = float(real_probe_only.mean() - real_judges_only.mean())
    return Estimate(name="probe less judge", n=len(texts), perfect=perfect, empty=1.0, **excess._asdict())


def _disagreements(texts: Sequence[str], judges: Judges, probe: Probe) -> tuple[np.ndarray, np.ndarray]:
    """Return which texts only the probe accepts, and which only the judges."""
    by_probe, by_judges = probe.accepted(texts), accepted(texts, judges)
    return by_probe & ~by_judges, by_judges & ~by_probe
