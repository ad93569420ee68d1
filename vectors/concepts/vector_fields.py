"""The fields of a vector, each checked: what comes from strangers' files is refused with a sentence."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import VectorError
from vectors.common.validation import check_integer, check_number, quote

MAX_TEXTS = 999_999_999


def check_text(value: object, what: str, *, empty: bool) -> str:
    """Return text that can be written."""
    if not isinstance(value, str) or not (value or empty):
        raise VectorError(f"{what} is {quote(value)}: expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise VectorError(f"{what} is {quote(value)}: it cannot be written as UTF-8") from error
    return value


def check_positive(value: object, what: str) -> float:
    """Return a number above zero."""
    result = check_number(value, what, error=VectorError)
    if result <= 0.0:
        raise VectorError(f"{what} is {result:g}: expected more than 0 (turn the direction round if it points away)")
    return result


def check_row(value: object, what: str) -> Float[Tensor, " d_model"]:
    """Return a row as float32 on the CPU, copied."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != 1 or not len(value):
        given = f"shape {tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else quote(value)
        raise VectorError(f"{what} is {given}: expected a floating-point tensor with one dimension, d_model")
    row = value.detach().to(device="cpu", dtype=torch.float32, copy=True).contiguous()
    if not bool(torch.isfinite(row).all()):
        raise VectorError(f"{what} holds NaN or infinity: extract it again")
    return row


def check_curve(value: object, what: str) -> tuple[dict[str, Any], ...]:
    """Return the rows of a pilot, plain JSON objects."""
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


def check_evidence(value: object, what: str) -> dict[str, Any]:
    """Return a plain JSON object."""
    return check_curve([value], what.replace("vector", "evidence of vector", 1))[0] if value else {}


def check_accepted(value: object, what: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Check how many texts a judge accepted, on each side."""
    sides = (
        [tuple(side) if isinstance(side, list | tuple) else () for side in value]
        if isinstance(value, list | tuple)
        else []
    )
    if [len(side) for side in sides] != [2, 2]:
        raise VectorError(f"unit_judge of {what} is {quote(value)}: expected two pairs, accepted and of how many")
    found = []
    for accepted, of in sides:
        count = check_integer(of, f"unit_judge of {what}", low=1, high=MAX_TEXTS, error=VectorError)
        found.append((check_integer(accepted, f"unit_judge of {what}", high=count, error=VectorError), count))
    return found[0], found[1]
