"""A concept found in a model: one direction at one layer, how it was found, and how much of it is enough."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import VectorError
from vectors.common.option_names import ranks_by_gain
from vectors.common.validation import check_integer, check_name, check_number, quote
from vectors.concepts.vector_fields import (
    MAX_TEXTS,
    check_accepted,
    check_curve,
    check_evidence,
    check_positive,
    check_row,
    check_text,
)
from vectors.concepts.vector_html import vector_html
from vectors.data.contrast import is_held_out
from vectors.model.positions import POSITIONS

NORM_TOLERANCE = 1e-3
MAX_LAYER = 99_999


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@runtime_checkable
class ModelLike(Protocol):
    """What the library needs to know of a model: who it is, how wide and deep, and where its shipped concepts lie."""

    @property
    def name(self) -> str:
        """Name as given when it was loaded."""

    @property
    def hash(self) -> str:
        """Hexadecimal digest of its weights."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""

    @property
    def library(self) -> Path | None:
        """Folder of the concepts shipped with it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptVector:
    """A unit direction in the residual stream after block `layer` of one model, signed towards the concept.

    Tensors are copied to float32 on the CPU; treat them as read-only. Two vectors are equal when their whole contents
    are, so a vector can be a dictionary key and equals itself after being saved and loaded.

    Attributes:
        name: what expressions call it.
        model, model_hash: the model it was found in; the hash decides whether another model may use it.
        layer: 0-based block whose output it was read from.
        direction: unit vector, "d_model".
        mean: mean of the background texts at that layer, "d_model".
        gap: natural gap, direction . (mean of positives - mean of background), > 0; of a learned direction the length
            of the learned shift.
        unit: shift that dose 1 stands for, > 0, or None without a pilot.
        unit_curve: the pilot's rows, plain JSON objects.
        unit_judge: of the pilot's judge, how many texts with the concept it accepts and of how many, and how many
            without, all of them texts that it was not fit on; or None.
        method: how the direction was found.
        positions: which positions it is added at, one of `vectors.model.positions.POSITIONS`; its unit holds for those.
        contrast_hash, n_positive, n_background: the texts it was found in.
        held_out, split_seed: share of them that was kept from it, and the seed of that split, or None.
        auc: how well it ranks held-out texts, 0 to 1, or None.
        created: ISO 8601 time.
        other_layers: by layer, the shift at other layers that goes with a shift of length one along the direction,
            "d_model" each; files of other libraries may steer many layers at once.
        evidence: how sure it is, as `vectors.extraction.diagnostics` measured it: a plain JSON object.

    Raises:
        VectorError: when a field breaks these rules.
        InputError: when the name cannot name a file.

    >>> import torch
    >>> east = torch.tensor([1.0, 0.0])
    >>> cat = ConceptVector(
    ...     name="cat", model="tiny", model_hash="ab12", layer=0, direction=east, mean=0 * east, gap=2.5, method="mean",
    ...     positions="all",
    ... )
    >>> cat.scale, cat.calibrated
    (2.5, False)
    """

    name: str
    model: str
    model_hash: str
    layer: int
    # plain tensors, whose shapes are checked below: they come from strangers' files and are refused with a VectorError
    direction: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)
    gap: float
    method: str
    positions: str
    unit: float | None = None
    unit_curve: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    unit_judge: tuple[tuple[int, int], tuple[int, int]] | None = None
    contrast_hash: str = ""
    n_positive: int = 0
    n_background: int = 0
    held_out: float | None = None
    split_seed: int | None = None
    auc: float | None = None
    created: str = field(default_factory=_now)
    other_layers: Mapping[int, Tensor] = field(default_factory=dict, repr=False)
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check and normalise every field."""
        checked: dict[str, object] = {"name": check_name(self.name)}
        what = f"vector {quote(self.name)}"
        for key in ("model", "model_hash", "method", "positions", "contrast_hash", "created"):
            checked[key] = check_text(getattr(self, key), f"{key} of {what}", empty=key == "contrast_hash")
        if self.positions not in POSITIONS:
            raise VectorError(f"positions of {what} is {quote(self.positions)}: expected {', '.join(POSITIONS)}")
        for key in ("layer", "n_positive", "n_background"):
            high = MAX_LAYER if key == "layer" else MAX_TEXTS
            checked[key] = check_integer(getattr(self, key), f"{key} of {what}", high=high, error=VectorError)
        checked["gap"] = check_positive(self.gap, f"gap of {what}")
        checked["unit"] = None if self.unit is None else check_positive(self.unit, f"unit of {what}")
        checked["auc"] = auc = None if self.auc is None else check_number(self.auc, f"auc of {what}", error=VectorError)
        if auc is not None and not 0.0 <= auc <= 1.0:
            raise VectorError(f"auc of {what} is {auc:g}: expected 0 to 1")
        if (self.held_out is None) != (self.split_seed is None):
            raise VectorError(f"{what} has one of held_out and split_seed: give both or neither")
        if self.held_out is not None:
            checked["held_out"] = share = check_number(self.held_out, f"held_out of {what}", error=VectorError)
            if not 0.0 < share < 1.0:
                raise VectorError(f"held_out of {what} is {share:g}: expected a share between 0 and 1")
            checked["split_seed"] = check_integer(self.split_seed, f"split_seed of {what}", error=VectorError)
        checked["unit_curve"] = check_curve(self.unit_curve, what)
        checked["unit_judge"] = None if self.unit_judge is None else check_accepted(self.unit_judge, what)
        checked["direction"] = direction = check_row(self.direction, f"direction of {what}")
        checked["mean"] = mean = check_row(self.mean, f"mean of {what}")
        checked["other_layers"] = others = self._checked_other_layers(what)
        for which, row in {"mean": mean, **{f"shift at layer {at}": row for at, row in others.items()}}.items():
            if len(direction) != len(row):
                raise VectorError(
                    f"{what} has a direction of width {len(direction)} and a {which} of width {len(row)}: make "
                    "them equal"
                )
        checked["evidence"] = check_evidence(self.evidence, what)
        norm = float(direction.double().norm())
        if abs(norm - 1.0) > NORM_TOLERANCE:
            raise VectorError(f"direction of {what} has length {norm:.6g}: divide it by its length first, it must be 1")
        try:
            datetime.fromisoformat(self.created)
        except ValueError as error:
            raise VectorError(f"created of {what} is {quote(self.created)}: expected an ISO 8601 time") from error
        for key, value in checked.items():
            object.__setattr__(self, key, value)

    def _checked_other_layers(self, what: str) -> dict[int, Tensor]:
        if not isinstance(self.other_layers, Mapping):
            raise VectorError(
                f"other_layers of {what} is {quote(self.other_layers)}: expected a mapping from layers to shifts"
            )
        found = {}
        for layer, row in sorted(self.other_layers.items(), key=lambda pair: str(pair[0])):
            at = check_integer(layer, f"a layer of {what}", high=MAX_LAYER, error=VectorError)
            found[at] = check_row(row, f"shift at layer {at} of {what}")
            if at == self.layer or not bool(found[at].any()):
                why = "its own layer" if at == self.layer else "a shift of zero"
                raise VectorError(f"other_layers of {what} holds {why} ({at}): leave it out")
        return dict(sorted(found.items()))

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return vector_html(self.name, self.summary(), self.evidence)

    def summary(self) -> dict[str, str]:
        """Return what a person wants to know of a self first, by name."""
        found_here = bool(self.contrast_hash or self.n_positive)  # a file of another library knows of no texts
        gap = "length found" if ranks_by_gain(self.method) else "natural gap" if found_here else "length"
        unit = f"{self.unit:.3g} (dose 1)" if self.unit is not None else f"not measured: dose 1 is the {gap}"
        return {
            "model": self.model,
            "layer": ", ".join(map(str, self.layers)) + (f" (calibrated at {self.layer})" if self.other_layers else ""),
            "AUC": "not measured" if self.auc is None else f"{self.auc:.3f} on held-out texts",
            gap: f"{self.gap:.3g}",
            "unit": unit,
            "method": self.method,
            "added at": f"{self.positions} positions",
            "texts": f"{self.n_positive} positive, {self.n_background} background" if found_here else "none known",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return every stored field but the tensors, plain JSON."""
        keys = "name model model_hash layer d_model gap unit unit_curve unit_judge method positions contrast_hash"
        plain = (
            *keys.split(),
            "n_positive",
            "n_background",
            "auc",
            "held_out",
            "split_seed",
            "created",
            "layers",
            "evidence",
        )
        return {key: getattr(self, key) for key in plain}

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer that it steers, in order."""
        return tuple(sorted((self.layer, *self.other_layers)))

    def shift_at(self, layer: int) -> Float[Tensor, " d_model"]:
        """Return what a shift of length one along the direction adds at a layer; at its own, the direction."""
        return self.direction if layer == self.layer else self.other_layers[layer]

    @property
    def d_model(self) -> int:
        """Width of the residual stream it lives in."""
        return len(self.direction)

    @property
    def tried_alone(self) -> bool:
        """Whether its pilot had no other concept beside it: then, not shifted along, its samples cost nothing."""
        return bool(self.unit_curve) and not self.unit_curve[0].get("mean")

    @property
    def calibrated(self) -> bool:
        """Whether a pilot measured what dose 1 should be."""
        return self.unit is not None

    @property
    def scale(self) -> float:
        """The shift that dose 1 stands for: the calibrated unit, or else the natural gap."""
        return self.gap if self.unit is None else self.unit

    def is_unseen(self, text: str) -> bool | None:
        """Whether a text would have been kept from this direction had it been among its texts; None if unknown."""
        if self.held_out is None or self.split_seed is None:
            return None
        return is_held_out(text, share=self.held_out, seed=self.split_seed)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all but the evidence, in hexadecimal: more may come to be known of the same vector."""
        apart = {"direction", "mean", "other_layers", "evidence"}
        fields = {key: getattr(self, key) for key in self.__dataclass_fields__ if key not in apart}
        if self.held_out is None:  # as it was before vectors knew of a split
            del fields["held_out"], fields["split_seed"]
        if self.unit_judge is None:  # and of how well its judge judged
            del fields["unit_judge"]
        if self.other_layers:  # and of other layers
            fields["further"] = list(self.other_layers)
        content = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
        for row in (self.direction, self.mean, *self.other_layers.values()):
            content.update(row.numpy().tobytes())
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        """Compare digests."""
        return self.digest == other.digest if isinstance(other, ConceptVector) else NotImplemented

    def __hash__(self) -> int:
        """Hash the digest."""
        return hash(self.digest)


def check_fits(vector: ConceptVector, model: ModelLike) -> None:
    """Refuse a vector that was made for other weights, another width or a deeper model.

    Raises:
        VectorError: naming both models and their widths.
    """
    if vector.model_hash != model.hash or vector.d_model != model.d_model:
        raise VectorError(
            f"vector {quote(vector.name)} was made for model {quote(vector.model)} (width {vector.d_model}, hash "
            f"{quote(vector.model_hash[:8])}), not for {quote(model.name)} (width {model.d_model}, "
            f"hash {quote(model.hash[:8])}): extract it again for this model"
        )
    if vector.layers[-1] >= model.n_layers:
        raise VectorError(
            f"vector {quote(vector.name)} steers layer {vector.layers[-1]}, but {quote(model.name)} has layers 0 to "
            f"{model.n_layers - 1}: extract it again at one of those"
        )
