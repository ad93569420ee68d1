"""A concept vector: a direction at one layer of a model, how it was found, and its unit."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import SteerWarning, VectorError
from vectors.common.validation import quote
from vectors.concepts.vector_fields import check_fields
from vectors.model.passport import Passport, Relation
from vectors.model.positions import Site


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@runtime_checkable
class ModelLike(Protocol):
    """The properties of a model that the library and the vectors use."""

    @property
    def name(self) -> str:
        """Name under which it was loaded."""

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
        """Folder of the concepts that ship with it, or None."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptVector:
    """A unit direction in the residual stream after block `layer` of one model, signed towards the concept.

    Tensors are copied to float32 on the CPU; treat them as read-only. Two vectors are equal if all their fields but the
    evidence and the passport are, so a vector can be a dictionary key and equals itself after it is saved and loaded.

    Attributes:
        name: name used in expressions.
        model, model_hash: the model it was found in; only a model with the same hash can use it, or the same model
            quantised or cast, by the passport.
        layer: 0-based block after which the shift is added.
        direction: unit vector, "d_model".
        mean: mean of the background texts at that layer, "d_model".
        gap: natural gap, direction . (mean of positives - mean of background), > 0; for a learned direction the length
            of the learned shift.
        unit: length of the shift of dose 1, > 0, or None without a pilot.
        unit_curve: rows of the pilot, plain JSON objects.
        unit_judge: how many positive texts the pilot's judge accepted and of how many, and the same for background
            texts, all held out from the judge; or None.
        method: extraction method.
        positions: positions at which the shift is added, one of `vectors.model.positions.POSITIONS` or `SCOPES`; the
            unit is measured with them.
        contrast_hash, n_positive, n_background: digest and sizes of the contrast set.
        held_out, split_seed: share of the contrast set that was held out, and the seed of that split; or None.
        auc: AUC on held-out texts, 0 to 1, or None.
        created: ISO 8601 time.
        other_shifts: shifts at other layers, or at other positions, that go with a shift of length one along the
            direction, "d_model" each, by site (layer and positions); a layer alone stands for `positions`.
        away_shifts: shifts that a negative dose adds, "d_model" each, by site, relative to the unit (the gap without
            one); by default a negative dose adds the opposite of the shifts.
        evidence: diagnostics of `vectors.extraction.diagnostics`, a plain JSON object.
        passport: what the model is (`vectors.model.passport`), a plain JSON object; empty in older vectors.

    Raises:
        VectorError: a field breaks these rules.
        InputError: the name cannot name a file.

    >>> import torch
    >>> from vectors import ConceptVector
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
    # without jaxtyping: tensors come from files, and wrong shapes raise VectorError
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
    other_shifts: Mapping[Site, Tensor] = field(default_factory=dict, repr=False)
    away_shifts: Mapping[Site, Tensor] = field(default_factory=dict, repr=False)
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)
    passport: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check and normalise every field."""
        fields = {key: getattr(self, key) for key in self.__dataclass_fields__}
        for key, value in check_fields(fields).items():
            object.__setattr__(self, key, value)

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        from vectors.concepts.vector_html import vector_html  # only notebooks need it

        return vector_html(self.name, self.summary(), self.evidence)

    @property
    def gap_name(self) -> str:
        """What the gap is: a natural gap between texts, or the length of a shift that was learned or imported."""
        from vectors.common.option_names import ranks_by_gain  # sampling needs it for a note only

        return "length found" if ranks_by_gain(self.method) else "natural gap" if self._has_texts else "length"

    @property
    def _has_texts(self) -> bool:
        return bool(self.contrast_hash or self.n_positive)  # files of other libraries record no texts

    def summary(self) -> dict[str, str]:
        """Return the most important fields as text, by label."""
        gap = self.gap_name
        unit = f"{self.unit:.3g} (dose 1)" if self.unit is not None else f"not measured: dose 1 is the {gap}"
        return {
            "model": self.model + (f" ({self.passport['precision']})" if self.passport else ""),
            "layer": ", ".join(map(str, self.layers)) + (f" (gap at {self.layer})" if len(self.layers) > 1 else ""),
            "AUC": "not measured" if self.auc is None else f"{self.auc:.3f} on held-out texts",
            gap: f"{self.gap:.3g}",
            "unit": unit,
            "method": self.method,
            "added at": f"{' and '.join(self.all_positions)} positions",
            "texts": f"{self.n_positive} positive, {self.n_background} background" if self._has_texts else "none known",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all fields except the tensors, for JSON."""
        keys = (
            "name", "model", "model_hash", "layer", "d_model", "gap", "unit", "unit_curve", "unit_judge", "method",
            "positions", "contrast_hash", "n_positive", "n_background", "auc", "held_out", "split_seed", "created",
            "layers", "evidence",
        )  # fmt: skip
        known = {key: value for key, value in self.passport.items() if key not in ("values", "steps", "gains")}
        return {key: getattr(self, key) for key in keys} | {"passport": known}

    @property
    def all_positions(self) -> tuple[str, ...]:
        """The positions of its shifts, those of the direction first."""
        return tuple(dict.fromkeys([self.positions, *(where for _, where in self.shifts)]))

    @property
    def layers(self) -> tuple[int, ...]:
        """All layers that the vector shifts, in order."""
        return tuple(sorted({layer for layer, _ in (*self.shifts, *self.away_shifts)}))

    @cached_property
    def shifts(self) -> dict[Site, Float[Tensor, " d_model"]]:
        """The shifts that go with a shift of length one along the direction, by site, in order."""
        return dict(sorted({(self.layer, self.positions): self.direction, **self.other_shifts}.items()))

    def shifts_of(self, dose: float) -> dict[Site, Float[Tensor, " d_model"]]:
        """The shifts, by site, that a dose multiplies: those of negative doses may be others."""
        if dose >= 0 or not self.away_shifts:
            return self.shifts
        return {site: -shift for site, shift in self.away_shifts.items()}

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return len(self.direction)

    @property
    def tried_alone(self) -> bool:
        """Whether the pilot added no other concepts: only then has its row at shift 0 no pressure."""
        return bool(self.unit_curve) and not self.unit_curve[0].get("mean")

    @property
    def calibrated(self) -> bool:
        """Whether a pilot measured the unit."""
        return self.unit is not None

    @property
    def scale(self) -> float:
        """Length of the shift of dose 1: the unit, or the natural gap without a unit."""
        return self.gap if self.unit is None else self.unit

    def is_unseen(self, text: str) -> bool | None:
        """Whether the split holds this text out; None if the split is unknown."""
        if self.held_out is None or self.split_seed is None:
            return None
        from vectors.data.contrast import is_held_out  # sampling needs no contrast set

        return is_held_out(text, share=self.held_out, seed=self.split_seed)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all fields except the evidence, which may grow without changing the vector."""
        separate = {"direction", "mean", "other_shifts", "away_shifts", "evidence", "passport"}
        fields = {key: getattr(self, key) for key in self.__dataclass_fields__ if key not in separate}
        # fields that older vectors lack count only if they are set, so that digests of older vectors stay the same
        if self.held_out is None:
            del fields["held_out"], fields["split_seed"]
        if self.unit_judge is None:
            del fields["unit_judge"]
        if self.other_shifts:
            fields["further"] = [at if where == self.positions else [at, where] for at, where in self.other_shifts]
        if self.away_shifts:
            fields["away"] = [list(site) for site in self.away_shifts]
        content = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
        for row in (self.direction, self.mean, *self.other_shifts.values(), *self.away_shifts.values()):
            content.update(row.numpy().tobytes())
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        """Compare digests."""
        return self.digest == other.digest if isinstance(other, ConceptVector) else NotImplemented

    def __hash__(self) -> int:
        """Hash the digest."""
        return hash(self.digest)


def passport_of(model: object) -> dict[str, Any]:
    """Return the passport of a model for a vector made in it, or an empty one of a model that has none."""
    passport = getattr(model, "passport", None)
    return passport.to_dict() if isinstance(passport, Passport) else {}


def same_model(vector: ConceptVector, other: object) -> Relation:
    """Return what the model of a vector is to another model, or to that of another vector, by hash and passport."""
    digest: str | None
    if isinstance(other, ConceptVector):
        digest, passport = other.model_hash, Passport.from_dict(other.passport) if other.passport else None
    else:
        digest, passport = getattr(other, "hash", None), getattr(other, "passport", None)
    if not vector.passport or not isinstance(passport, Passport):
        return "same" if vector.model_hash == digest else "other"
    made = Passport.from_dict(vector.passport)
    if vector.model_hash != digest:
        return made.relation(passport)
    return "same" if made.equals(passport) else "requantised"  # the signs are the same, of a cast and of some roundings


def check_fits(vector: ConceptVector, model: ModelLike) -> None:
    """Check that a vector was made for this model; a note says if it was made for the same model quantised or cast.

    Raises:
        VectorError: it was made for another model, or steers layers that the model does not have.
    """
    relation = same_model(vector, model)
    if relation == "other" or vector.d_model != model.d_model:
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
    if relation == "requantised":
        made, here = vector.passport["precision"], passport_of(model)["precision"]
        warnings.warn(
            f"{quote(vector.name)} was made on {quote(vector.model)} in {made}; {quote(model.name)} is the same model "
            f"in {here}: doses may differ a little",
            SteerWarning,
            stacklevel=1,  # one place, so that each vector is named once
        )
