"""Features of sparse autoencoders in SAELens' folders: one row of the decoder is a direction in the residual stream."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vectors.common.errors import InputError, VectorError
from vectors.common.files import expand_path, read_bytes
from vectors.common.validation import check_integer, quote
from vectors.concepts.vector_file import MAX_HEADER
from vectors.formats.layer_names import layer_of
from vectors.formats.layer_shifts import Shifts

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
DECODER = "W_dec"
_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
_MEND = "give a folder that SAELens wrote"


def read_sae(folder: str | Path, row: int, *, d_model: int) -> Shifts:
    """Return one feature of a sparse autoencoder as a shift: row `row` of its decoder, as long as it is there.

    Only that row is read from the disk, whatever the size of the decoder.

    Args:
        folder: holds `cfg.json` and `sae_weights.safetensors`.
        row: 0-based number of the feature.
        d_model: width of the model that is to be steered.

    Raises:
        InputError: a row that the decoder does not have.
        VectorError: no such folder, files that are damaged, a decoder of another width, or an autoencoder of something
            else than the residual stream between blocks.
    """
    place = expand_path(folder, VectorError)
    raw = read_bytes(place / CONFIG, f"the {CONFIG} of a sparse autoencoder", limit=MAX_HEADER, kind=VectorError)
    try:
        cfg = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise VectorError(f"{quote(place / CONFIG)} is not JSON: {_MEND}") from error
    if not isinstance(cfg, dict):
        raise VectorError(f"{quote(place / CONFIG)} is no JSON object: {_MEND}")
    try:
        layer = _layer(cfg)
        if (width := cfg.get("d_in")) != d_model:
            raise VectorError(
                f"it is {quote(width)} wide (d_in), and the model {d_model}: it was made for another model"
            )
        return Shifts({layer: _row(place / WEIGHTS, row, d_model)}, method="sae")
    except VectorError as error:
        raise VectorError(f"{quote(place)} is no usable sparse autoencoder: {error}") from error


def _layer(cfg: dict[str, Any]) -> int:
    """The block whose output it was trained on, from where older and newer versions write that down."""
    nested = cfg.get("metadata")
    places = (cfg, nested if isinstance(nested, dict) else {})
    named: list[Any] = [each[key] for key in ("hook_name", "hook_point") for each in places if each.get(key)]
    if not named or not isinstance(named[0], str):
        raise VectorError(f"its {CONFIG} names no hook: {_MEND}")
    out = next((each["hook_name_out"] for each in places if each.get("hook_name_out")), named[0])
    if out != named[0]:
        raise VectorError(f"it is a transcoder from {quote(named[0])} to {quote(out)}: give an autoencoder")
    return layer_of(named[0])


def _row(path: Path, row: int, d_model: int) -> Tensor:
    """Read one row of the decoder.

    By its place in the file: safetensors' own slices map all of it into memory, which fails where it is larger.
    """
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > MAX_HEADER:
                raise VectorError(f"{WEIGHTS} is no safetensors file: download it again")
            kind, features, start = _decoder(stream.read(size), os.fstat(stream.fileno()).st_size - 8 - size, d_model)
            try:
                chosen = check_integer(row, "row", high=features - 1)
            except InputError as error:
                last = features - 1
                raise InputError(f"row is {quote(row)}: this autoencoder has the features 0 to {last}") from error
            stream.seek(8 + size + start + chosen * d_model * kind.itemsize)
            raw = bytearray(stream.read(d_model * kind.itemsize))
    except OSError as error:
        raise VectorError(f"cannot read {quote(path)} ({error.strerror}): {_MEND}") from error
    if len(raw) != d_model * kind.itemsize:
        raise VectorError(f"{WEIGHTS} is truncated: download it again")
    return torch.frombuffer(raw, dtype=kind).float()


def _decoder(head: bytes, held: int, d_model: int) -> tuple[torch.dtype, int, int]:
    """Return the dtype of the decoder, how many features it has, and where it starts in what the file holds."""
    try:
        entry = json.loads(head)[DECODER]
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        features, width = (check_integer(each, "shape", low=1) for each in shape)
        start, end = check_integer(start, "start"), check_integer(end, "end", high=held)
    except (ValueError, KeyError, TypeError, RecursionError, InputError) as error:
        raise VectorError(f"{WEIGHTS} is truncated, or holds no {DECODER} of two dimensions: {_MEND}") from error
    if width != d_model:
        raise VectorError(f"its {DECODER} has shape ({features}, {width}), expected (features, {d_model})")
    if not isinstance(kind, str) or kind not in _FLOATS:
        raise VectorError(f"its {DECODER} is of {quote(kind)}, expected one of {', '.join(_FLOATS)}")
    if end - start != features * width * _FLOATS[kind].itemsize:
        raise VectorError(f"{WEIGHTS} is corrupt: download it again")
    return _FLOATS[kind], features, start
