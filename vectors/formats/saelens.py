"""Read features of sparse autoencoders from SAELens folders: a row of the decoder is a shift of the residual stream."""

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
from vectors.formats.layer_shifts import LayerShifts

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
DECODER = "W_dec"
_MEND = "give a folder that SAELens wrote"


def read_sae(folder: str | Path, row: int, *, d_model: int) -> LayerShifts:
    """Return one feature of a sparse autoencoder as a shift: row `row` of its decoder, at its own length.

    Only that row is read from the disk, whatever the size of the decoder.

    Args:
        folder: contains `cfg.json` and `sae_weights.safetensors`.
        row: 0-based index of the feature.
        d_model: width of the model to steer.

    Raises:
        InputError: a row that the decoder does not have.
        VectorError: no such folder, damaged files, a decoder of another width, or an autoencoder of anything else than
            the residual stream between blocks.
    """
    path = expand_path(folder, VectorError)
    raw = read_bytes(path / CONFIG, f"the {CONFIG} of a sparse autoencoder", limit=MAX_HEADER, error=VectorError)
    try:
        cfg = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise VectorError(f"{quote(path / CONFIG)} is not JSON: {_MEND}") from error
    if not isinstance(cfg, dict):
        raise VectorError(f"{quote(path / CONFIG)} is no JSON object: {_MEND}")
    try:
        layer = _layer(cfg)
        if (width := cfg.get("d_in")) != d_model:
            raise VectorError(
                f"it is {quote(width)} wide (d_in), and the model {d_model}: it was made for another model"
            )
        return LayerShifts({layer: _read_row(path / WEIGHTS, row, d_model)}, method="sae")
    except VectorError as error:
        raise VectorError(f"{quote(path)} is no usable sparse autoencoder: {error}") from error


def _layer(cfg: dict[str, Any]) -> int:
    """Return the block whose output the autoencoder was trained on; newer versions keep the hook under `metadata`."""
    nested = cfg.get("metadata")
    tables = (cfg, nested if isinstance(nested, dict) else {})
    hooks: list[Any] = [table[key] for key in ("hook_name", "hook_point") for table in tables if table.get(key)]
    if not hooks or not isinstance(hooks[0], str):
        raise VectorError(f"its {CONFIG} names no hook: {_MEND}")
    out = next((table["hook_name_out"] for table in tables if table.get("hook_name_out")), hooks[0])
    if out != hooks[0]:
        raise VectorError(f"it is a transcoder from {quote(hooks[0])} to {quote(out)}: give an autoencoder")
    return layer_of(hooks[0])


def _read_row(path: Path, row: int, d_model: int) -> Tensor:
    """Read one row of the decoder and nothing else: safetensors' own slices map the whole file into memory."""
    try:
        with path.open("rb") as stream:
            decoder = _locate_decoder(stream, d_model)
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


def _locate_decoder(stream: BinaryIO, d_model: int) -> TensorEntry:
    try:
        decoder = locate_tensor(stream, DECODER)
    except VectorError as error:
        raise VectorError(f"{WEIGHTS} cannot be used: {error}; download it again") from error
    if len(decoder.shape) != 2 or decoder.shape[0] < 1 or decoder.shape[1] != d_model:
        raise VectorError(f"its {DECODER} has shape {quote(decoder.shape)}, expected (features, {d_model})")
    return decoder
