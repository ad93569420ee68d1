"""The covariance of the activations of texts that a model writes without a prompt, cached on disk."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from vectors.activations.covariance import LowRankCovariance, estimate_covariance
from vectors.common.errors import SteerError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.paths import model_folder, writable_model_folder
from vectors.common.tensor_file import read_tensors
from vectors.decoding.own_texts import own_texts
from vectors.model.residual_model import ResidualModel

TEXTS = 128
"""Number of texts sampled: enough for a rank of 32."""

MAX_TOKENS = 64
"""Length limit of a text, in generated tokens."""

_FORMAT = "steer-spread/1"
_MAX_BYTES = 64 * 2**20
_SEED = 0
_TENSORS = ("mean", "basis", "deviations", "distances")


def natural_covariance(model: ResidualModel, layers: Sequence[int]) -> dict[int, LowRankCovariance]:
    """Return for each layer the covariance of the mean activations of texts that the model writes without a prompt.

    The texts are sampled from the start token at temperature 1. The covariance is cached in the model's folder of the
    user's library, so that later runs use the same one; if the library is not writable, it is estimated again.

    Args:
        model: the model.
        layers: 0-based blocks.

    Raises:
        InputError: the texts do not vary, or too few of them are not blank.
        ModelError: the model has no start token, or its activations are not finite.
    """
    covariances = cached_covariance(model, layers)
    missing = [layer for layer in layers if layer not in covariances]
    texts = own_texts(model, TEXTS, seed=_SEED, max_tokens=MAX_TOKENS) if missing else []
    for layer in missing:
        covariances[layer] = estimate_covariance(model, texts, layer)
        with contextlib.suppress(SteerError, OSError):
            path = writable_model_folder(model.name, model.hash) / _file_name(layer)
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, _to_bytes(covariances[layer], model), force=True)
    return covariances


def cached_covariance(model: ResidualModel, layers: Sequence[int]) -> dict[int, LowRankCovariance]:
    """Return the cached covariances of some layers, without those that are missing or damaged."""
    covariances = dict[int, LowRankCovariance]()
    for layer in layers:
        with contextlib.suppress(SteerError):
            path = model_folder(model.name, model.hash) / _file_name(layer)
            covariance = _parse(read_bytes(path, "a covariance", limit=_MAX_BYTES), model, layer)
            if covariance is not None:
                covariances[layer] = covariance
    return covariances


def _file_name(layer: int) -> Path:
    return Path("natural") / f"layer-{layer}.spread"


def _to_bytes(covariance: LowRankCovariance, model: ResidualModel) -> bytes:
    rows = {name: torch.as_tensor(getattr(covariance, name)).contiguous() for name in _TENSORS}
    fields = {
        "format": _FORMAT, "model_hash": model.hash, "layer": covariance.layer, "rest": covariance.rest,
        "count": covariance.count,
    }  # fmt: skip
    data: bytes = safetensors.torch.save(rows, {"spread": json.dumps(fields)})
    return data


def _parse(data: bytes, model: ResidualModel, layer: int) -> LowRankCovariance | None:
    """Return the covariance in a file, or None if the file is damaged or of another model or layer."""
    try:
        rows, metadata = read_tensors(data)
        fields = json.loads(metadata["spread"])
        rest, count = float(fields["rest"]), int(fields["count"])
        same = (fields["format"], fields["model_hash"], fields["layer"]) == (_FORMAT, model.hash, layer)
    except (SteerError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    if not same or sorted(rows) != sorted(_TENSORS) or any(row.dtype != torch.float64 for row in rows.values()):
        return None
    basis, distances = rows["basis"], rows["distances"]
    rank = len(basis) if basis.ndim else 0
    shapes = {"mean": (model.d_model,), "basis": (rank, model.d_model), "deviations": (rank,)}
    fits = all(tuple(rows[name].shape) == shape for name, shape in shapes.items()) and distances.ndim == 1
    sound = all(bool(torch.isfinite(row).all()) for row in rows.values()) and 0 < rest < float("inf")
    if fits and not torch.allclose(basis @ basis.T, torch.eye(rank, dtype=torch.float64), atol=1e-6):
        return None
    if (
        not fits
        or not sound
        or not rank
        or not len(distances)
        or not bool((rows["deviations"] > 0).all())
        or bool((distances < 0).any())
    ):
        return None
    return LowRankCovariance(
        layer=layer, mean=rows["mean"], basis=basis, deviations=rows["deviations"], rest=rest,
        distances=np.sort(distances.numpy()), count=count,
    )  # fmt: skip
