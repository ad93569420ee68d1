"""What is natural at a layer: the spread of the texts that a model writes by itself, kept once it is known."""

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
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.model.residual_model import ResidualModel

TEXTS = 128
"""That the model writes: a spread of 32 directions."""

MAX_TOKENS = 64
"""Length limit of each, in generated tokens."""

_FORMAT = "steer-spread/1"
_MAX_BYTES = 64 * 2**20
_SEED = 0
_TENSORS = ("mean", "basis", "deviations", "distances")


def natural_covariance(model: ResidualModel, layers: Sequence[int]) -> dict[int, LowRankCovariance]:
    """Return how the mean activations of the model's own texts vary, by layer.

    They are sampled from the start token alone, at temperature 1. What they say is kept in the user's library, in the
    model's folder, so that the same shape is found there by later runs; where nothing can be kept, it is found anew.

    Args:
        model: the model that writes and reads them.
        layers: 0-based blocks.

    Raises:
        InputError: texts that do not vary, or too few that are not empty.
        ModelError: a model without a start token, or activations that are not finite.
    """
    kept = cached_covariance(model, layers)
    missing = [layer for layer in layers if layer not in kept]
    texts = sample_prompt_free(model, TEXTS, seed=_SEED, max_tokens=MAX_TOKENS) if missing else []
    for layer in missing:
        kept[layer] = estimate_covariance(model, texts, layer)
        with contextlib.suppress(SteerError, OSError):
            place = writable_model_folder(model.name, model.hash) / _place(layer)
            place.parent.mkdir(exist_ok=True)
            write_atomically(place, _bytes(kept[layer], model), force=True)
    return kept


def cached_covariance(model: ResidualModel, layers: Sequence[int]) -> dict[int, LowRankCovariance]:
    """Return what is kept of some layers; nothing for those of which nothing usable is."""
    found = dict[int, LowRankCovariance]()
    for layer in layers:
        with contextlib.suppress(SteerError):
            place = model_folder(model.name, model.hash) / _place(layer)
            spread = _parse(read_bytes(place, "a spread", limit=_MAX_BYTES), model, layer)
            if spread is not None:
                found[layer] = spread
    return found


def _place(layer: int) -> Path:
    return Path("natural") / f"layer-{layer}.spread"


def _bytes(spread: LowRankCovariance, model: ResidualModel) -> bytes:
    rows = {name: torch.as_tensor(getattr(spread, name)).contiguous() for name in _TENSORS}
    about = {
        "format": _FORMAT, "model_hash": model.hash, "layer": spread.layer, "rest": spread.rest, "count": spread.count,
    }  # fmt: skip
    data: bytes = safetensors.torch.save(rows, {"spread": json.dumps(about)})
    return data


def _parse(data: bytes, model: ResidualModel, layer: int) -> LowRankCovariance | None:
    """Return a spread of this model and layer; None for what is damaged or of another."""
    try:
        rows, metadata = read_tensors(data)
        about = json.loads(metadata["spread"])
        rest, count = float(about["rest"]), int(about["count"])
        same = (about["format"], about["model_hash"], about["layer"]) == (_FORMAT, model.hash, layer)
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
