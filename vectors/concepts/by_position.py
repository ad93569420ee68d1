"""Compose concepts at each layer and in each part of a text: the start token, the prompt, generated tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.concepts.composition import check_independent, orthonormal, smallest_shift
from vectors.concepts.vector import ConceptVector
from vectors.model.positions import PARTS, POSITIONS, Site, parts_of

Row = np.ndarray[tuple[int], np.dtype[np.float64]]
Rows = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class _Share:
    """The shifts of one concept in one part of a text at one layer, at dose 1, by the scope of their weight."""

    name: str
    dose: float
    by_scope: dict[str, Row]

    @property
    def basis(self) -> Rows:
        """Orthonormal rows that span the shifts."""
        rows = np.stack(list(self.by_scope.values()))
        rows = rows / np.abs(rows).max(axis=1, keepdims=True)  # squares of huge shifts overflow
        return orthonormal(rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True)))


def compose_by_position(
    vectors: Sequence[ConceptVector],
    doses: Mapping[str, float],
    *,
    method: str,
    positions: str | None = None,
) -> dict[Site, Row]:
    """Return the composed shift by site, in float64; at most one of the sites of a layer acts on any position.

    In each part of a text, and at each layer, the composed shift is the smallest whose projection on every shift of
    every concept there is the same as if the concept were added alone: `V (V^T V)^-1 p`, with the shifts as columns of
    V. It is linear in the weights of the shifts, so that a weight that fades over a text scales its own column of
    `V (V^T V)^-1`. Only scopes then act beside another site on generated tokens.

    Args:
        vectors: the concepts.
        doses: dose of each, by name.
        method: `exact`, `rotate` (composed in the same way) or `sum`.
        positions: where all concepts are added instead of where they were made for; see `moved`.

    Raises:
        VectorError: concepts too nearly parallel or dependent in some part of a text.
    """
    composed: dict[Site, Row] = {}
    for layer in sorted({layer for vector in vectors for layer in vector.layers}):
        by_part: dict[str, dict[str, Row]] = {}
        for part in PARTS:
            shares = [_share(vector, doses[vector.name], layer, part, positions) for vector in vectors]
            if here := [share for share in shares if share.by_scope]:
                by_part[part] = _sum(here) if method == "sum" else _exact(here)
        composed |= {(layer, where): row for where, row in _merge(by_part).items()}
    if not composed:
        names = ", ".join(quote(vector.name) for vector in vectors)
        raise InputError(f"positions {positions} leave nothing of {names}: choose others")
    return composed


def moved(own: str, positions: str | None, *, several: bool) -> str | None:
    """Return where a shift is added that was made for the positions `own`, if `positions` are asked for instead.

    All shifts move to `positions`. If a concept has `several` sets of positions at a layer, its shift at the start
    token stays there, and is left out (None) if `positions` do not include the start token.

    >>> moved("all", "generated", several=False), moved("bos", "first:12", several=True)
    ('generated', 'bos')
    >>> moved("bos", "generated", several=True) is None
    True
    """
    if positions is None:
        return own
    if not several or own != "bos":
        return positions
    return own if "bos" in parts_of(positions) else None


def part_shift(vector: ConceptVector, layer: int, part: str) -> Row | None:
    """Return the shift of dose 1 of a concept at a layer in a part of a text, before it fades; None without one."""
    rows = list(_share(vector, 1.0, layer, part, None).by_scope.values())
    return np.sum(rows, axis=0) if rows else None


def _share(vector: ConceptVector, dose: float, layer: int, part: str, positions: str | None) -> _Share:
    here = {where: row for (at, where), row in vector.shifts_of(dose).items() if at == layer}
    by_scope: dict[str, Row] = {}
    for where, row in here.items():
        to = moved(where, positions, several=len(here) > 1)
        scopes = {} if to is None else parts_of(to)
        if part in scopes:
            shift = vector.scale * _as_row(row, unit=row is vector.direction)
            by_scope[scopes[part]] = by_scope.get(scopes[part], 0.0) + shift
    return _Share(vector.name, dose, {scope: row for scope, row in by_scope.items() if row.any()})


def _as_row(row: torch.Tensor, *, unit: bool) -> Row:
    values: Row = row.double().numpy()
    # a direction in float32 has length one only up to rounding
    return values / np.sqrt((values * values).sum()) if unit else values


def _sum(shares: Sequence[_Share]) -> dict[str, Row]:
    total: dict[str, Row] = {}
    for share in shares:
        for scope, row in share.by_scope.items():
            total[scope] = total.get(scope, 0.0) + share.dose * row
    return total


def _exact(shares: Sequence[_Share]) -> dict[str, Row]:
    """Return by scope the smallest shift with the projections that each concept would have alone."""
    bases = [share.basis for share in shares]
    directions = np.concatenate(bases)
    owners = [share.name for share, basis in zip(shares, bases, strict=True) for _ in basis]
    check_independent(directions, owners)
    composed: dict[str, Row] = {}
    for scope in dict.fromkeys(scope for share in shares for scope in share.by_scope):
        wanted = np.concatenate(
            [
                share.dose * (basis @ share.by_scope[scope]) if scope in share.by_scope else np.zeros(len(basis))
                for share, basis in zip(shares, bases, strict=True)
            ]
        )
        composed[scope] = smallest_shift(torch.from_numpy(directions), torch.from_numpy(wanted)[None])[0].numpy()
    return composed


def _merge(by_part: Mapping[str, Mapping[str, Row]]) -> dict[str, Row]:
    """Return shifts by positions, with as few names as possible, from shifts by part of the text and scope."""
    generated = by_part.get("generated", {})
    scoped = {scope: row for scope, row in generated.items() if scope}
    plain = {part: rows[""] for part, rows in by_part.items() if "" in rows}
    if len(scoped) == 1 and set(plain) == {"bos", "prompt"}:
        (scope, row), *_ = scoped.items()
        if all(np.array_equal(row, other) for other in plain.values()):
            return {scope: row}
    merged: dict[str, Row] = dict(plain)
    for name in POSITIONS:
        parts = set(parts_of(name))
        if len(parts) > 1 and parts <= set(merged) and _all_equal([merged[part] for part in parts]):
            merged = {name: merged[next(iter(parts))]} | {
                part: row for part, row in merged.items() if part not in parts
            }
    return merged | {f"generated*{scope}": row for scope, row in scoped.items()}


def _all_equal(rows: Sequence[Row]) -> bool:
    return all(np.array_equal(rows[0], row) for row in rows[1:])
