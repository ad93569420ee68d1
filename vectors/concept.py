"""A concept found in a model: one direction at one layer, how it was found, and how much of it is enough."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.checks import check_name, number, shown, whole
from vectors.contrast import is_held_out
from vectors.errors import VectorError
from vectors.positions import POSITIONS

NORM_TOLERANCE = 1e-3
MAX_LAYER = 99_999
MAX_TEXTS = 999_999_999


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
        positions: which positions it is added at, one of `vectors.positions.POSITIONS`; its unit holds for those.
        contrast_hash, n_positive, n_background: the texts it was found in.
        held_out, split_seed: share of them that was kept from it, and the seed of that split, or None.
        auc: how well it ranks held-out texts, 0 to 1, or None.
        created: ISO 8601 time.

    Raises:
        VectorError: when a field breaks these rules.
        InputError: when the name cannot name a file.

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

    def __post_init__(self) -> None:
        """Check and normalise every field."""
        checked: dict[str, object] = {"name": check_name(self.name)}
        what = f"vector {shown(self.name)}"
        for key in ("model", "model_hash", "method", "positions", "contrast_hash", "created"):
            checked[key] = _text(getattr(self, key), f"{key} of {what}", empty=key == "contrast_hash")
        if self.positions not in POSITIONS:
            raise VectorError(f"positions of {what} is {shown(self.positions)}: expected {', '.join(POSITIONS)}")
        for key in ("layer", "n_positive", "n_background"):
            high = MAX_LAYER if key == "layer" else MAX_TEXTS
            checked[key] = whole(getattr(self, key), f"{key} of {what}", high=high, kind=VectorError)
        checked["gap"] = _positive(self.gap, f"gap of {what}")
        checked["unit"] = None if self.unit is None else _positive(self.unit, f"unit of {what}")
        checked["auc"] = auc = None if self.auc is None else number(self.auc, f"auc of {what}", kind=VectorError)
        if auc is not None and not 0.0 <= auc <= 1.0:
            raise VectorError(f"auc of {what} is {auc:g}: expected 0 to 1")
        if (self.held_out is None) != (self.split_seed is None):
            raise VectorError(f"{what} has one of held_out and split_seed: give both or neither")
        if self.held_out is not None:
            checked["held_out"] = share = number(self.held_out, f"held_out of {what}", kind=VectorError)
            if not 0.0 < share < 1.0:
                raise VectorError(f"held_out of {what} is {share:g}: expected a share between 0 and 1")
            checked["split_seed"] = whole(self.split_seed, f"split_seed of {what}", kind=VectorError)
        checked["unit_curve"] = _curve(self.unit_curve, what)
        checked["unit_judge"] = None if self.unit_judge is None else _accepted(self.unit_judge, what)
        checked["direction"] = direction = _row(self.direction, f"direction of {what}")
        checked["mean"] = mean = _row(self.mean, f"mean of {what}")
        if len(direction) != len(mean):
            raise VectorError(
                f"{what} has a direction of width {len(direction)} and a mean of width {len(mean)}: make them equal"
            )
        norm = float(direction.double().norm())
        if abs(norm - 1.0) > NORM_TOLERANCE:
            raise VectorError(f"direction of {what} has length {norm:.6g}: divide it by its length first, it must be 1")
        try:
            datetime.fromisoformat(self.created)
        except ValueError as error:
            raise VectorError(f"created of {what} is {shown(self.created)}: expected an ISO 8601 time") from error
        for key, value in checked.items():
            object.__setattr__(self, key, value)

    @property
    def d_model(self) -> int:
        """Width of the residual stream it lives in."""
        return len(self.direction)

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
        """SHA-256 of the whole content, in hexadecimal."""
        fields = {key: getattr(self, key) for key in self.__dataclass_fields__ if key not in {"direction", "mean"}}
        if self.held_out is None:  # as it was before vectors knew of a split
            del fields["held_out"], fields["split_seed"]
        if self.unit_judge is None:  # and of how well its judge judged
            del fields["unit_judge"]
        content = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
        for row in (self.direction, self.mean):
            content.update(row.numpy().tobytes())
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        """Compare whole contents."""
        return self.digest == other.digest if isinstance(other, ConceptVector) else NotImplemented

    def __hash__(self) -> int:
        """Hash the whole content."""
        return hash(self.digest)


def check_fits(vector: ConceptVector, model: ModelLike) -> None:
    """Refuse a vector that was made for other weights, another width or a deeper model.

    Raises:
        VectorError: naming both models and their widths.
    """
    if vector.model_hash != model.hash or vector.d_model != model.d_model:
        raise VectorError(
            f"vector {shown(vector.name)} was made for model {shown(vector.model)} (width {vector.d_model}, hash "
            f"{shown(vector.model_hash[:8])}), not for {shown(model.name)} (width {model.d_model}, "
            f"hash {shown(model.hash[:8])}): extract it again for this model"
        )
    if vector.layer >= model.n_layers:
        raise VectorError(
            f"vector {shown(vector.name)} steers layer {vector.layer}, but {shown(model.name)} has layers 0 to "
            f"{model.n_layers - 1}: extract it again at one of those"
        )


def _text(value: object, what: str, *, empty: bool) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise VectorError(f"{what} is {shown(value)}: expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise VectorError(f"{what} is {shown(value)}: it cannot be written as UTF-8") from error
    return value


def _positive(value: object, what: str) -> float:
    result = number(value, what, kind=VectorError)
    if result <= 0.0:
        raise VectorError(f"{what} is {result:g}: expected more than 0 (turn the direction round if it points away)")
    return result


def _row(value: object, what: str) -> Float[Tensor, " d_model"]:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != 1 or not len(value):
        given = f"shape {tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else shown(value)
        raise VectorError(f"{what} is {given}: expected a floating-point tensor with one dimension, d_model")
    row = value.detach().to(device="cpu", dtype=torch.float32, copy=True).contiguous()
    if not bool(torch.isfinite(row).all()):
        raise VectorError(f"{what} holds NaN or infinity: extract it again")
    return row


def _curve(value: object, what: str) -> tuple[dict[str, Any], ...]:
    expected = f"unit_curve of {what}: expected a list of plain JSON objects with finite numbers"
    if not isinstance(value, list | tuple) or not all(isinstance(row, Mapping) for row in value):
        raise VectorError(expected)
    rows = tuple(dict(row) for row in value)
    try:
        same = json.loads(json.dumps(rows, allow_nan=False)) == list(rows)
    except (TypeError, ValueError, RecursionError) as error:
        raise VectorError(expected) from error
    if not same:
        raise VectorError(expected)
    return rows


def _accepted(value: object, what: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Check how many texts a judge accepted, on each side."""
    sides = (
        [tuple(side) if isinstance(side, list | tuple) else () for side in value]
        if isinstance(value, list | tuple)
        else []
    )
    if [len(side) for side in sides] != [2, 2]:
        raise VectorError(f"unit_judge of {what} is {shown(value)}: expected two pairs, accepted and of how many")
    found = []
    for accepted, of in sides:
        count = whole(of, f"unit_judge of {what}", low=1, high=MAX_TEXTS, kind=VectorError)
        found.append((whole(accepted, f"unit_judge of {what}", high=count, kind=VectorError), count))
    return found[0], found[1]
