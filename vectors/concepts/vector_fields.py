"""Checks of the fields of a concept vector; a wrong one raises an error of one line."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vectors.common.errors import InputError, VectorError
from vectors.common.validation import check_integer, check_name, check_number, quote
from vectors.model.passport import Passport
from vectors.model.positions import Site, check_positions, describe_site

MAX_TEXTS = 999_999_999
MAX_LAYER = 99_999
MAX_TEXT = 5_000  # a model may be named by its path
NORM_TOLERANCE = 1e-3


def check_text(value: object, what: str, *, empty: bool) -> str:
    """Return text that can be written as UTF-8 and is short enough to be shown."""
    if not isinstance(value, str) or not (value or empty):
        raise VectorError(f"{what} is {quote(value)}: expected text")
    if len(value) > MAX_TEXT:
        raise VectorError(f"{what} is {quote(value)}: expected at most {MAX_TEXT} characters, it has {len(value)}")
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
        actual = f"shape {tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else quote(value)
        raise VectorError(f"{what} is {actual}: expected a floating-point tensor with one dimension, d_model")
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


def check_passport(value: object, what: str) -> dict[str, Any]:
    """Return a passport, or an empty mapping without one."""
    if isinstance(value, Mapping) and not value:
        return {}
    try:
        Passport.from_dict(value)
    except VectorError as error:
        raise VectorError(f"{what}: {error}") from error
    return dict(value) if isinstance(value, Mapping) else {}


def check_judge(value: object, what: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return two pairs, for positive and for background texts: how many a judge accepted, and of how many."""
    pairs = (
        [tuple(pair) if isinstance(pair, list | tuple) else () for pair in value]
        if isinstance(value, list | tuple)
        else []
    )
    if [len(pair) for pair in pairs] != [2, 2]:
        raise VectorError(f"unit_judge of {what} is {quote(value)}: expected two pairs, accepted and of how many")
    counts = []
    for accepted, total in pairs:
        n = check_integer(total, f"unit_judge of {what}", low=1, high=MAX_TEXTS, error=VectorError)
        counts.append((check_integer(accepted, f"unit_judge of {what}", high=n, error=VectorError), n))
    return counts[0], counts[1]


def check_split(held_out: object, split_seed: object, what: str) -> tuple[float | None, int | None]:
    """Return the share of held-out texts and the seed of the split, or None twice."""
    if (held_out is None) != (split_seed is None):
        raise VectorError(f"{what} has one of held_out and split_seed: give both or neither")
    if held_out is None:
        return None, None
    share = check_number(held_out, f"held_out of {what}", error=VectorError)
    if not 0.0 < share < 1.0:
        raise VectorError(f"held_out of {what} is {share:g}: expected a share between 0 and 1")
    return share, check_integer(split_seed, f"split_seed of {what}", error=VectorError)


def check_shifts(value: object, own: Site, what: str, *, beside_own: bool) -> dict[Site, Tensor]:
    """Return shifts by site, in order.

    Args:
        value: a mapping from layers, or from layers and positions, to shifts.
        own: the site of the vector's direction, whose positions a layer alone stands for.
        what: what they are, for messages.
        beside_own: whether the own site must not be among them.
    """
    if not isinstance(value, Mapping):
        raise VectorError(
            f"{what} is {quote(value)}: expected a mapping from layers, or from layers and positions, to shifts"
        )
    shifts: dict[Site, Tensor] = {}
    for key, row in value.items():
        at, where = key if isinstance(key, tuple) and len(key) == 2 else (key, own[1])
        site = (
            check_integer(at, f"a layer in {what}", high=MAX_LAYER, error=VectorError),
            check_vector_positions(where, what),
        )
        twice = site in shifts
        shifts[site] = check_row(row, f"shift at {describe_site(site)} in {what}")
        is_own = beside_own and site == own
        if is_own or twice or not bool(shifts[site].any()):
            problem = "the vector's own site" if is_own else "a site twice" if twice else "a shift of zero"
            raise VectorError(f"{what} holds {problem} ({describe_site(site)}): leave it out")
    return dict(sorted(shifts.items()))


def check_vector_positions(value: object, what: str) -> str:
    """Return the name of a set of positions or of a scope."""
    text = check_text(value, f"positions of {what}", empty=False)
    try:
        return check_positions(text, scopes=True)
    except InputError as error:
        raise VectorError(f"positions of {what}: {error}") from error


def check_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return all fields of a vector, checked and normalised.

    Raises:
        VectorError: a field is unusable.
        InputError: the name cannot name a file.
    """
    checked: dict[str, Any] = {"name": check_name(fields["name"])}
    what = f"vector {quote(fields['name'])}"
    for key in ("model", "model_hash", "method", "contrast_hash", "created"):
        checked[key] = check_text(fields[key], f"{key} of {what}", empty=key == "contrast_hash")
    checked["positions"] = check_vector_positions(fields["positions"], what)
    for key, high in (("layer", MAX_LAYER), ("n_positive", MAX_TEXTS), ("n_background", MAX_TEXTS)):
        checked[key] = check_integer(fields[key], f"{key} of {what}", high=high, error=VectorError)
    checked["gap"] = check_positive(fields["gap"], f"gap of {what}")
    unit, auc, judge = fields["unit"], fields["auc"], fields["unit_judge"]
    checked["unit"] = None if unit is None else check_positive(unit, f"unit of {what}")
    checked["auc"] = None if auc is None else check_number(auc, f"auc of {what}", error=VectorError)
    if auc is not None and not 0.0 <= checked["auc"] <= 1.0:
        raise VectorError(f"auc of {what} is {checked['auc']:g}: expected 0 to 1")
    checked["held_out"], checked["split_seed"] = check_split(fields["held_out"], fields["split_seed"], what)
    checked["unit_curve"] = check_curve(fields["unit_curve"], what)
    checked["unit_judge"] = None if judge is None else check_judge(judge, what)
    checked["direction"] = direction = check_row(fields["direction"], f"direction of {what}")
    checked["mean"] = check_row(fields["mean"], f"mean of {what}")
    own = checked["layer"], checked["positions"]
    checked["other_shifts"] = check_shifts(fields["other_shifts"], own, f"other_shifts of {what}", beside_own=True)
    checked["away_shifts"] = check_shifts(fields["away_shifts"], own, f"away_shifts of {what}", beside_own=False)
    rows = {"mean": checked["mean"]}
    for key in ("other_shifts", "away_shifts"):
        rows |= {f"shift at {describe_site(site)} ({key})": row for site, row in checked[key].items()}
    for label, row in rows.items():
        if len(direction) != len(row):
            raise VectorError(
                f"{what} has a direction of width {len(direction)} and a {label} of width {len(row)}: make them equal"
            )
    checked["evidence"] = check_evidence(fields["evidence"], what)
    checked["passport"] = check_passport(fields["passport"], what)
    norm = float(direction.double().norm())
    if abs(norm - 1.0) > NORM_TOLERANCE:
        raise VectorError(f"direction of {what} has length {norm:.6g}: divide it by its length first, it must be 1")
    try:
        datetime.fromisoformat(checked["created"])
    except ValueError as error:
        raise VectorError(f"created of {what} is {quote(checked['created'])}: expected an ISO 8601 time") from error
    return checked
