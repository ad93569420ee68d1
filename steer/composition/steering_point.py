"""Compose doses to a steering point: the shift at each layer with the requested projection on every concept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from steer.composition.expression import METHODS, Doses, check_dose, format_doses, parse
from vectors.common.errors import InputError, VectorError
from vectors.common.validation import list_names, quote
from vectors.concepts import library
from vectors.concepts.composition import (
    as_shift,
    check_independent,
    orthonormal,
    smallest_shift,
    unit_length,
    unit_rows,
)
from vectors.concepts.vector import ConceptVector, ModelLike, check_fits, same_model
from vectors.model.interventions import Gate, Intervention, rotate

if TYPE_CHECKING:
    from vectors.activations.covariance import LowRankCovariance
    from vectors.common.layer_ranges import LayerRanges


@dataclass(frozen=True, eq=False)
class SteeringPoint:
    """A composed shift of the residual stream.

    Attributes:
        deltas: shift after each steered block, float32 on the CPU, "d_model" each.
        doses: dose of every concept by name, before scaling.
        vectors: the concepts, in the order of `doses`.
        method: how they were composed.
        scale: factor on all shifts that keeps them within a pressure budget.
        around: the picked samples that it is centred on, plain JSON, if any; `deltas` are then their mean shifts.
        shapes: covariance of the perturbations by layer; uniform at layers without one.
        chosen_layers: the layers to which vectors of several layers were restricted, as text; None without a choice.
    """

    deltas: dict[int, Float32[Tensor, " d_model"]] = field(repr=False)
    doses: dict[str, float]
    vectors: tuple[ConceptVector, ...] = field(repr=False)
    method: str = "exact"
    scale: float = 1.0
    around: dict[str, Any] | None = field(default=None, repr=False)
    shapes: "Mapping[int, LowRankCovariance]" = field(default_factory=dict, repr=False)
    chosen_layers: str | None = None

    @property
    def layers(self) -> tuple[int, ...]:
        """Steered layers in order."""
        return tuple(sorted(self.deltas))

    @property
    def norms(self) -> dict[int, float]:
        """Length of the shift by layer."""
        return {layer: float(delta.double().norm()) for layer, delta in self.deltas.items()}

    @property
    def positions(self) -> str:
        """The positions that all its concepts were made for.

        Raises:
            InputError: concepts made for different positions.
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
        """The doses as a canonical expression."""
        return format_doses(self.doses)

    def scaled(self, factor: float) -> "SteeringPoint":
        """Return the point with every shift multiplied by a factor, which `scale` records."""
        deltas = {layer: delta * factor for layer, delta in self.deltas.items()}
        return replace(self, deltas=deltas, scale=self.scale * factor)

    def moves(self, *, gate: bool = False) -> dict[int, Intervention]:
        """Return by layer what replaces the addition of the shift: nothing, a rotation, or a gate.

        Raises:
            InputError: a gate for concepts at the start token, for several layers, or for a rotation.
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
        if self.chosen_layers is not None:
            raise InputError(
                f"a gate needs the layers that its concepts were made for: leave the choice of layers "
                f"({self.chosen_layers}) or the gate out"
            )
        if several := [vector.name for vector in self.vectors if vector.other_layers]:
            raise InputError(
                f"a gate needs to know what is natural, and of {quote(several[0])} that is known at one of its layers "
                "only: leave the gate out"
            )
        gates: dict[int, Intervention] = {}
        for layer in self.layers:
            here = [vector for vector in self.vectors if vector.layer == layer]
            directions = torch.from_numpy(unit_rows(here, layer)).float()
            levels = torch.stack([(vector.mean * row).sum() for vector, row in zip(here, directions, strict=True)])
            gates[layer] = Gate(directions, levels)
        return gates

    def span(self, layer: int) -> Float64[Tensor, "k d_model"]:
        """Return an orthonormal float64 basis of the k independent concept directions at one layer.

        Raises:
            InputError: a layer that the point does not steer.
        """
        if layer not in self.deltas:
            raise InputError(
                f"layer {layer} is not steered by this point: choose from {', '.join(map(str, self.layers))}"
            )
        here = [vector for vector in self.vectors if layer in vector.layers]
        if not here:  # a point that the caller made without vectors
            return torch.zeros(0, len(self.deltas[layer]), dtype=torch.float64)
        return torch.from_numpy(orthonormal(unit_rows(here, layer)))


def compose(
    expression: str | Mapping[ConceptVector, float] | Mapping[str, float] | Mapping[ConceptVector | str, float],
    model: ModelLike | None = None,
    *,
    method: str = "exact",
    layers: "str | int | Iterable[int] | LayerRanges | None" = None,
) -> SteeringPoint:
    """Compose concepts and doses into one steering point; doses of a repeated concept add up.

    The keys of a mapping are vectors, names in the model's library, or paths. Of vectors that steer at several layers,
    `layers` keeps some: numbers, or a text such as `8-20` (both ends included). The methods are:

    - `exact`: the smallest shift whose projection on every concept is its dose times its unit,
      `V (V^T V)^-1 (a * u)` with the concepts as columns of V, solved in float64 for each layer. A concept of dose 0
      keeps projection 0.
    - `sum`: the sum of the scaled directions.
    - `rotate`: composes as `exact`; the residual stream is rotated towards its sum with the shift and keeps its length.

    Raises:
        InputError: an expression or dose that cannot be read, an unknown concept, names without a model, or layers that
            no vector of several layers has.
        VectorError: a vector of another model or width, two different vectors of one name, or (method "exact")
            concepts too nearly parallel or dependent to be dosed separately.
    """
    if method not in METHODS:
        raise InputError(f"method is {quote(method)}: choose from {', '.join(METHODS)}")
    vectors_and_doses = _load_vectors(parse(expression) if isinstance(expression, str) else expression, model)
    chosen = None
    if layers is not None:
        from vectors.common.layer_ranges import parse_layers  # most points have one layer

        chosen = parse_layers(layers)
        vectors_and_doses = _restrict(vectors_and_doses, chosen)
    vectors = tuple(vector for vector, _ in vectors_and_doses.values())
    for other in vectors[1:]:
        _check_same_model(vectors[0], other)
    deltas = {}
    for layer in sorted({layer for vector in vectors for layer in vector.layers}):
        here = [(vector, dose) for vector, dose in vectors_and_doses.values() if layer in vector.layers]
        directions = unit_rows([vector for vector, _ in here], layer)
        lengths = np.array([dose * unit_length(vector, layer) for vector, dose in here])
        if method == "sum":
            shift = lengths @ directions
        else:
            check_independent(directions, [vector.name for vector, _ in here])
            shift = smallest_shift(torch.from_numpy(directions), torch.from_numpy(lengths)[None])[0].numpy()
        deltas[layer] = as_shift(shift, layer)
    doses = {name: dose for name, (_, dose) in vectors_and_doses.items()}
    return SteeringPoint(
        deltas=deltas,
        doses=doses,
        vectors=vectors,
        method=method,
        chosen_layers=None if chosen is None else str(chosen),
    )


def _restrict(
    vectors_and_doses: Mapping[str, tuple[ConceptVector, float]], chosen: "LayerRanges"
) -> dict[str, tuple[ConceptVector, float]]:
    """Keep the chosen layers of vectors that steer at several; vectors of one layer stay as they are."""
    from vectors.concepts.vector_layers import at_layers

    vectors = [vector for vector, _ in vectors_and_doses.values()]
    others = [vector for vector in vectors if not vector.other_layers and vector.layer not in chosen]
    if len(others) == len(vectors):
        raise InputError(
            f"layers {chosen} choose among the layers of a concept that steers at several, and "
            f"{list_names(vector.name for vector in vectors)} each steer at one: leave --layers (layers=) out"
        )
    return {
        name: (at_layers(vector, chosen.choose(vector.layers, quote(name))) if vector.other_layers else vector, dose)
        for name, (vector, dose) in vectors_and_doses.items()
    }


def _load_vectors(
    doses: Mapping[ConceptVector, float] | Mapping[str, float] | Mapping[ConceptVector | str, float],
    model: ModelLike | None,
) -> dict[str, tuple[ConceptVector, float]]:
    if not isinstance(doses, Mapping) or not doses:
        raise InputError(f"got {quote(doses)}: give an expression or a mapping from at least one concept to its dose")
    chosen: dict[str, tuple[ConceptVector, float]] = {}
    for key, value in doses.items():
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
        dose = value if isinstance(doses, Doses) else check_dose(value, vector.name)
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
    if one.d_model != other.d_model or same_model(one, other) == "other":
        raise VectorError(
            f"vector {quote(one.name)} was made for model {quote(one.model)} (width {one.d_model}) and "
            f"{quote(other.name)} for {quote(other.model)} (width {other.d_model}): extract both for one model"
        )
