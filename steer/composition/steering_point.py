"""From doses to a steering point: the shift at each layer whose projection on every concept is what was asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from steer.composition.expression import Doses, check_dose, format_doses, parse
from steer.composition.linear_algebra import as_shift, check_independent, orthonormal, unit_length, unit_rows
from vectors.common.errors import InputError, VectorError
from vectors.common.validation import quote
from vectors.concepts import library
from vectors.concepts.composition import smallest_shift
from vectors.concepts.vector import ConceptVector, ModelLike, check_fits
from vectors.model.interventions import Gate, Intervention, rotate

if TYPE_CHECKING:
    from vectors.activations.covariance import LowRankCovariance

METHODS = ("exact", "sum", "rotate")


@dataclass(frozen=True, eq=False)
class SteeringPoint:
    """A composed shift of the residual stream.

    Attributes:
        deltas: shift after each steered block, float32 on the CPU, "d_model" each.
        doses: dose of every concept by name.
        vectors: the concepts, in the order of `doses`.
        method: how they were composed.
        scale: what all of it was multiplied by to keep within a pressure; the doses are those before that.
        around: the samples that it stands on, plain JSON, if it does: `deltas` then are their mean.
        shapes: how directions around it vary, by layer; uniformly where nothing is said.
    """

    deltas: dict[int, Float32[Tensor, " d_model"]] = field(repr=False)
    doses: dict[str, float]
    vectors: tuple[ConceptVector, ...] = field(repr=False)
    method: str = "exact"
    scale: float = 1.0
    around: dict[str, Any] | None = field(default=None, repr=False)
    shapes: "Mapping[int, LowRankCovariance]" = field(default_factory=dict, repr=False)

    @property
    def layers(self) -> tuple[int, ...]:
        """Steered layers in order."""
        return tuple(sorted(self.deltas))

    @property
    def norms(self) -> dict[int, float]:
        """Length of the shift at each layer."""
        return {layer: float(delta.double().norm()) for layer, delta in self.deltas.items()}

    @property
    def positions(self) -> str:
        """The positions that all its concepts are made for.

        Raises:
            InputError: when they differ.
        """
        first = self.vectors[0] if self.vectors else None
        for other in self.vectors[1:]:
            if first and other.positions != first.positions:
                raise InputError(
                    f"{quote(first.name)} is made for positions {first.positions} and {quote(other.name)} for "
                    f"{other.positions}: extract one of them anew, or choose positions for all"
                )
        return first.positions if first else "all"

    @property
    def expression(self) -> str:
        """The doses in canonical form, as `parse` reads them."""
        return format_doses(self.doses)

    def scaled(self, factor: float) -> "SteeringPoint":
        """Return the point with every shift multiplied, and that recorded."""
        deltas = {layer: delta * factor for layer, delta in self.deltas.items()}
        return replace(self, deltas=deltas, scale=self.scale * factor)

    def moves(self, *, gate: bool = False) -> dict[int, Intervention]:
        """Return what the shift does at each layer other than being added: nothing, turn the stream, or fill it up.

        Raises:
            InputError: a gate for concepts at the start token, where there is nothing to read, or for a rotation.
        """
        if not gate:
            return dict.fromkeys(self.layers, rotate) if self.method == "rotate" else {}
        if self.method == "rotate":
            raise InputError("a gate adds what is missing, method 'rotate' adds nothing: choose one of them")
        blind = [vector.name for vector in self.vectors if vector.positions == "bos"]
        if blind or not self.vectors:
            raise InputError(
                f"a gate reads each position, and {quote(blind[0]) if blind else 'this point'} is added at the start "
                "token alone: leave the gate out, or extract the concept with positions all"
            )
        if several := [vector.name for vector in self.vectors if vector.other_layers]:
            raise InputError(
                f"a gate needs to know what is natural, and of {quote(several[0])} that is known at one of its layers "
                "only: leave the gate out"
            )
        found: dict[int, Intervention] = {}
        for layer in self.layers:
            here = [vector for vector in self.vectors if vector.layer == layer]
            directions = torch.from_numpy(unit_rows(here, layer)).float()
            levels = torch.stack([(vector.mean * row).sum() for vector, row in zip(here, directions, strict=True)])
            found[layer] = Gate(directions, levels)
        return found

    def span(self, layer: int) -> Float64[Tensor, "k d_model"]:
        """Return an orthonormal float64 basis of the concept directions at one layer; k counts the independent ones.

        Raises:
            InputError: when the point does not steer that layer.
        """
        if layer not in self.deltas:
            raise InputError(
                f"layer {layer} is not steered by this point: choose from {', '.join(map(str, self.layers))}"
            )
        here = [each for each in self.vectors if layer in each.layers]
        if not here:  # a shift of the caller's own
            return torch.zeros(0, len(self.deltas[layer]), dtype=torch.float64)
        return torch.from_numpy(orthonormal(unit_rows(here, layer)))


def compose(
    expression: str | Mapping[ConceptVector, float] | Mapping[str, float] | Mapping[ConceptVector | str, float],
    model: ModelLike | None = None,
    *,
    method: str = "exact",
) -> SteeringPoint:
    """Compose concepts and doses into one steering point; a concept that is given twice adds its doses.

    The keys of a mapping are vectors, names in the model's library, or paths. With `method="exact"` the shift is the
    smallest one whose projection on every concept is its dose times its scale, `V (V^T V)^-1 (a * u)` with the
    concepts as columns of V, solved in float64 for each layer on its own; a concept with dose 0 is then kept at 0.
    `method="sum"` adds the scaled directions up. `method="rotate"` composes as "exact" does, and the stream is turned
    towards what adding would give, at the length it has.

    Raises:
        InputError: for an expression or dose that cannot be read, an unknown concept, or names without a model.
        VectorError: for a vector of another model or width, two different vectors of one name, or (method "exact")
            concepts too nearly parallel or dependent to be dosed apart.
    """
    if method not in METHODS:
        raise InputError(f"method is {quote(method)}: choose from {', '.join(METHODS)}")
    chosen = _gather(parse(expression) if isinstance(expression, str) else expression, model)
    vectors = tuple(vector for vector, _ in chosen.values())
    for other in vectors[1:]:
        _check_same_model(vectors[0], other)
    deltas = {}
    for layer in sorted({layer for vector in vectors for layer in vector.layers}):
        here = [(vector, dose) for vector, dose in chosen.values() if layer in vector.layers]
        directions = unit_rows([vector for vector, _ in here], layer)
        lengths = np.array([dose * unit_length(vector, layer) for vector, dose in here])
        if method == "sum":
            shift = lengths @ directions
        else:
            check_independent(directions, [vector.name for vector, _ in here])
            shift = smallest_shift(torch.from_numpy(directions), torch.from_numpy(lengths)[None])[0].numpy()
        deltas[layer] = as_shift(shift, layer)
    doses = {name: dose for name, (_, dose) in chosen.items()}
    return SteeringPoint(deltas=deltas, doses=doses, vectors=vectors, method=method)


def _gather(
    given: Mapping[ConceptVector, float] | Mapping[str, float] | Mapping[ConceptVector | str, float],
    model: ModelLike | None,
) -> dict[str, tuple[ConceptVector, float]]:
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"got {quote(given)}: give an expression or a mapping from at least one concept to its dose")
    chosen: dict[str, tuple[ConceptVector, float]] = {}
    for key, raw in given.items():
        if isinstance(key, ConceptVector):
            vector = key
            if model is not None:
                check_fits(vector, model)
        elif isinstance(key, str | Path):
            if model is None:
                raise InputError(f"{quote(key)} is a name: pass the model whose library holds it, or a ConceptVector")
            vector = library.load(key, model)
        else:
            raise InputError(f"{quote(key)} is no concept: give a name, a path or a ConceptVector")
        dose = raw if isinstance(given, Doses) else check_dose(raw, vector.name)
        if vector.name not in chosen:
            chosen[vector.name] = (vector, 0.0 + dose)  # turns -0.0 into 0.0
            continue
        earlier, earlier_dose = chosen[vector.name]
        if earlier != vector:
            raise VectorError(
                f"two different vectors are both named {quote(vector.name)}: rename one (dataclasses.replace, name=...)"
            )
        chosen[vector.name] = (vector, check_dose(earlier_dose + dose, vector.name))
    return chosen


def _check_same_model(one: ConceptVector, other: ConceptVector) -> None:
    if (one.model_hash, one.d_model) != (other.model_hash, other.d_model):
        raise VectorError(
            f"vector {quote(one.name)} was made for model {quote(one.model)} (width {one.d_model}) and "
            f"{quote(other.name)} for {quote(other.model)} (width {other.d_model}): extract both for one model"
        )
