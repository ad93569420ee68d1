"""At which positions of a text a shift is added, and with what weight."""

import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError
from vectors.common.validation import quote

POSITIONS = ("bos", "all", "generated", "not-bos")
"""The start token only; all positions; generated tokens only; all positions but the start token."""

SCOPES = ("first:N", "decay:H")
"""All positions until N tokens are sampled; all positions, with a weight that halves every H sampled tokens."""

PARTS = ("bos", "prompt", "generated")
"""The parts of a text: the start token, the rest of the prompt, and generated tokens."""

Site = tuple[int, str]
"""A layer, and the positions of a text at which a shift is added there."""

Shifts = Mapping[int, Tensor] | Mapping[Site, Tensor]
"""Shifts by layer, all at the same positions, or by site."""

_SCOPE = re.compile(r"(first):([1-9][0-9]{0,8})|(decay):([0-9]{1,9}(?:\.[0-9]{1,9})?)", re.ASCII)


def check_positions(positions: str, *, bos: bool = True, scopes: bool = False) -> str:
    """Check the name of a set of positions and return it.

    Args:
        positions: One of `POSITIONS`, or of `SCOPES` with a number in place of the letter.
        bos: Whether the model has a start token.
        scopes: Whether `SCOPES` are allowed.

    Raises:
        InputError: The name is unknown, or is about the start token and the model has none.

    >>> check_positions("bos"), check_positions("first:12", scopes=True)
    ('bos', 'first:12')
    """
    known = (*POSITIONS, *SCOPES) if scopes else POSITIONS
    scope = _SCOPE.fullmatch(positions) if scopes and isinstance(positions, str) else None
    if scope and scope[3] and not float(scope[4]):
        raise InputError(f"positions is {positions!r}: the half-life cannot be 0 tokens, give decay:8, for example")
    if positions not in POSITIONS and scope is None:
        example = ", such as first:12 or decay:8" if scopes else ""
        raise InputError(f"positions is {quote(positions)}: choose from {', '.join(known)}{example}")
    if positions in ("bos", "not-bos") and not bos:
        raise InputError(f"positions is {positions!r}, but the model has no start token: choose 'all' or 'generated'")
    return positions


def check_site_positions(positions: str, *, bos: bool) -> None:
    """Check that a model with or without a start token has the positions of a site.

    Raises:
        InputError: the positions are about the start token, and the model has none.
    """
    if positions.split("*")[0] not in PARTS or positions == "bos":
        check_positions(positions, bos=bos, scopes=True)


def position_weights(positions: str, length: int, n_prefix: int) -> Float[Tensor, " pos"]:
    """Return the weight of a shift at each of `length` positions, the first `n_prefix` of which are the prompt.

    The token sampled at a position is the one after it, so `first:1` ends with the last position of the prompt.
    Besides names that `check_positions` allows, there is `prompt` (of `PARTS`), and `generated*first:12` stands for the
    product of two weights.

    >>> position_weights("generated", 4, 2).tolist()
    [0.0, 0.0, 1.0, 1.0]
    >>> position_weights("decay:1", 4, 2).tolist()
    [1.0, 1.0, 0.5, 0.25]
    """
    if "*" in positions:
        part, scope_name = positions.split("*")
        return position_weights(part, length, n_prefix) * position_weights(scope_name, length, n_prefix)
    position = torch.arange(length)
    if scope := _SCOPE.fullmatch(positions):
        n_sampled = (position - (n_prefix - 1)).clamp(min=0)  # tokens sampled before each position
        return (n_sampled < int(scope[2])).float() if scope[1] else 0.5 ** (n_sampled / float(scope[4]))
    start, end = {
        "bos": (0, 1), "all": (0, length), "generated": (n_prefix, length), "not-bos": (1, length),
        "prompt": (1, n_prefix),
    }[positions]  # fmt: skip
    return ((position >= start) & (position < end)).float()


def describe_site(site: Site) -> str:
    """Return a site in words.

    >>> describe_site((6, "bos"))
    'layer 6, positions bos'
    """
    return f"layer {site[0]}, positions {site[1]}"


def parts_of(positions: str) -> dict[str, str]:
    """Return the parts of a text, of `PARTS`, where a shift has a weight: by part its scope, or "" for a weight of 1.

    The names are those of `position_weights`.

    >>> parts_of("not-bos"), parts_of("first:12")
    ({'prompt': '', 'generated': ''}, {'bos': '', 'prompt': '', 'generated': 'first:12'})
    >>> parts_of("prompt"), parts_of("generated*first:12")
    ({'prompt': ''}, {'generated': 'first:12'})
    """
    if "*" in positions:
        part, scope = positions.split("*")
        return {part: scope}
    if _SCOPE.fullmatch(positions):
        return {"bos": "", "prompt": "", "generated": positions}
    return dict.fromkeys((positions,) if positions in PARTS else {"all": PARTS, "not-bos": PARTS[1:]}[positions], "")


def shift_by_position(
    shift: Float[Tensor, "rows d_model"], length: int, n_prefix: int, positions: str
) -> Float[Tensor, "rows pos d_model"]:
    """Return a shift per row times its weight at each of `length` positions, as `position_weights` gives it.

    >>> shift_by_position(torch.ones(1, 1), 4, 2, "generated")[0, :, 0].tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    return shift[:, None, :] * position_weights(positions, length, n_prefix).to(shift)[None, :, None]


def by_site(shifts: Shifts, positions: str | None) -> dict[Site, Tensor]:
    """Return shifts by site; those by layer are added at `positions`, by default at all of them.

    >>> by_site({3: torch.ones(2)}, "all")
    {(3, 'all'): tensor([1., 1.])}
    """
    return {key if isinstance(key, tuple) else (key, positions or "all"): shift for key, shift in shifts.items()}


def sum_by_layer(
    shifts: Shifts, length: int, n_prefix: int, positions: str | None
) -> dict[int, Float[Tensor, "rows pos d_model"]]:
    """Return by layer the sum of its shifts at each of `length` positions; see `shift_by_position`.

    >>> shifts = {(3, "all"): torch.ones(1, 1), (3, "bos"): torch.ones(1, 1)}
    >>> sum_by_layer(shifts, 3, 1, "all")[3][0, :, 0].tolist()
    [2.0, 1.0, 1.0]
    """
    total: dict[int, Tensor] = {}
    for (layer, where), shift in by_site(shifts, positions).items():
        placed = shift_by_position(shift, length, n_prefix, where)
        total[layer] = total[layer] + placed if layer in total else placed
    return total
