"""Features of sparse autoencoders in SAELens' folders: one row of the decoder is a direction in the residual stream."""

import json
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vectors.common.errors import InputError, VectorError
from vectors.common.files import expand_path, read_bytes
from vectors.common.tensor_file import MAX_HEADER, TensorEntry, locate_tensor
from vectors.common.validation import check_integer, quote
from vectors.formats.layer_names import layer_of
from vectors.formats.layer_shifts import Shifts

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
DECODER = "W_dec"
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
    raw = read_bytes(place / CONFIG, f"the {CONFIG} of a sparse autoencoder", limit=MAX_HEADER, error=VectorError)
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
    """Read one row of the decoder and nothing else: safetensors' own slices map the whole file into memory."""
    try:
        with path.open("rb") as stream:
            decoder = _decoder(stream, d_model)
            last = decoder.shape[0] - 1
            try:
                chosen = check_integer(row, "row", high=last)
            except InputError as error:
                raise InputError(f"row is {quote(row)}: this autoencoder has the features 0 to {last}") from error
            n_bytes = d_model * decoder.dtype.itemsize
            stream.seek(decoder.offset + chosen * n_bytes)
            raw = bytearray(stream.read(n_bytes))
    except OSError as error:
        raise VectorError(f"cannot read {quote(path)} ({error.strerror}): {_MEND}") from error
    if len(raw) != n_bytes:
        raise VectorError(f"{WEIGHTS} is truncated: download it again")
    return torch.frombuffer(raw, dtype=decoder.dtype).float()


def _decoder(stream: BinaryIO, d_model: int) -> TensorEntry:
    try:
        decoder = locate_tensor(stream, DECODER)
    except VectorError as error:
        raise VectorError(f"{WEIGHTS} cannot be used: {error}; download it again") from error
    if len(decoder.shape) != 2 or decoder.shape[0] < 1 or decoder.shape[1] != d_model:
        raise VectorError(f"its {DECODER} has shape {quote(decoder.shape)}, expected (features, {d_model})")
    return decoder
