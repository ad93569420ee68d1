"""Write a steered checkpoint: a folder whose weights contain a shift, for engines without steering."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from vectors.common.errors import ModelError, OutputError
from vectors.common.files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, expand_path
from vectors.common.validation import quote
from vectors.decoding.prompt_free_samples import sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.formats.checkpoint.biases import add_biases, copy_sharing_weights, with_biases
from vectors.formats.checkpoint.model_card import is_checkpoint, write_metadata
from vectors.formats.checkpoint.neurons import add_neurons, sum_by_layer, write_at_start
from vectors.formats.layer_shifts import check_shifts
from vectors.model.hooks import shift_layers
from vectors.model.loading import BLOCKS_NOTE, short_message, silence_transformers
from vectors.model.residual_model import ResidualModel

SUPPORTED_POSITIONS: Final = ("all", "bos", "not-bos")
TOLERANCE: Final = 1e-4
"""Largest accepted difference from the logits of live steering, relative to their standard deviation (at least 1)."""

_RANDOM_TOKENS = 16_384
_LENGTH = 96  # tokens of a text
_SAMPLES = 16  # texts sampled with the shift


def write_checkpoint(
    path: str | Path,
    model: ResidualModel,
    deltas: Mapping[int, Tensor],
    *,
    positions: str = "all",
    about: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Write a folder in Hugging Face's format with the logits of live steering, and return its path.

    A shift at every position becomes a bias, and a shift at the start token becomes neurons that are active there
    alone. A family without biases is written as an equivalent one with biases where there is one (Mistral and Qwen2 as
    Llama). The folder is loaded again and compared with live steering before it gets its name; on any failure nothing
    is left behind.

    With a shift at the start token, texts must begin with that token and must not contain it elsewhere: no weights can
    distinguish a start token that is repeated right after itself.

    Args:
        path: a folder that does not exist.
        model: a model in float32.
        deltas: the shift of each block's output, by 0-based block, "d_model" each.
        positions: where the shifts are added: `all`, `bos` or `not-bos`.
        about: further metadata of the steering point, plain JSON.
        force: replace an existing steered checkpoint; no other folder is ever replaced.

    Raises:
        OutputError: other positions, or a path that cannot be written.
        ModelError: a family that cannot hold the shift, a model in another dtype, a start token that cannot be
            separated from other positions, or logits that differ from those of live steering.
    """
    if positions not in SUPPORTED_POSITIONS:
        raise OutputError(
            f"a shift at positions {positions} depends on what is being written, and weights do not: choose one of "
            f"{', '.join(SUPPORTED_POSITIONS)}"
        )
    folder = check_folder(path, force=force)
    rows = check_shifts(deltas, model, error=OutputError)
    _check_model(model)
    temporary = _temporary_folder(folder)
    try:
        steered, measured = _steered_copy(model, rows, positions)
        _save(steered, model, temporary)
        held_out = _texts(model, rows, positions, seed=1)[-2 * _SAMPLES :]  # no neuron was fit on them
        measured |= {"difference": _logit_difference(temporary, model, rows, positions, held_out)}
        write_metadata(temporary, model, rows, positions, measured | dict(about or {}))
        _move_into_place(temporary, folder, force)
    except OSError as error:
        raise OutputError(
            f"cannot write {quote(folder)} ({error.strerror}): choose a path that can be written"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def check_folder(path: str | Path, *, force: bool = False) -> Path:
    """Check that a checkpoint can be written to a path, without touching it, and return the path.

    Raises:
        OutputError: something exists there that is no steered checkpoint, or is one and `force` is not given, or the
            path cannot be written.
    """
    folder = expand_path(path, OutputError)
    if not folder.name:
        raise OutputError(f"{quote(folder)} names no folder: give the path of a new one")
    if os.path.lexists(folder):
        if folder.is_symlink() or not is_checkpoint(folder):
            raise OutputError(f"{quote(folder)} exists and is no steered checkpoint: choose another path")
        if not force:
            raise OutputError(
                f"{quote(folder)} exists: pass --force (force=True) to replace it, or choose another path"
            )
    if not folder.parent.is_dir():
        raise OutputError(f"cannot write {quote(folder)}: there is no folder {quote(folder.parent)}, create it first")
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {quote(folder)}: you may not write there, choose another path")
    return folder


def _check_model(model: ResidualModel) -> None:
    kinds = {weight.dtype for weight in model.hf.parameters()}
    if kinds != {torch.float32}:
        named = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise ModelError(
            f"model {quote(model.name)} is in {named}, in which a shift is rounded: load it in float32, and cast the "
            "folder afterwards if need be"
        )
    if not type(model.hf).__module__.startswith("transformers."):
        raise ModelError(
            f"model {quote(model.name)} runs code of its own ({type(model.hf).__name__}), which a checkpoint does not "
            "contain: give a model of transformers' own families"
        )


def _steered_copy(model: ResidualModel, rows: Mapping[int, Tensor], positions: str) -> tuple[Any, dict[str, Any]]:
    """Return a copy of the model that contains the shift and shares all other weights, and the measured margin."""
    steered = with_biases(copy_sharing_weights(model.hf), model.blocks_path, rows, model.d_model)
    if positions == "all":
        add_biases(steered, model.blocks_path, rows)
        return steered, {}
    first = add_neurons(steered, model.blocks_path, model.d_model)
    if positions == "not-bos":
        add_biases(steered, model.blocks_path, rows)
    ids = _texts(model, rows, positions, seed=0)
    sign = 1.0 if positions == "bos" else -1.0
    return steered, {"start_margin": write_at_start(steered, first, model, rows, ids, sign=sign, positions=positions)}


def _texts(model: ResidualModel, rows: Mapping[int, Tensor], positions: str, *, seed: int) -> list[list[int]]:
    """Return texts of random tokens, which cover the vocabulary if it is small enough, and texts sampled steered."""
    prefix = [] if model.bos_id is None else [model.bos_id]
    vocabulary = len(model.hf.get_input_embeddings().weight)
    length = min(_LENGTH, model.max_context)
    random = torch.Generator().manual_seed(seed)
    permutations = [torch.randperm(vocabulary, generator=random) for _ in range(1 + _RANDOM_TOKENS // vocabulary)]
    tokens = [token for token in torch.cat(permutations)[:_RANDOM_TOKENS].tolist() if token not in prefix]
    texts = [[*prefix, *tokens[start : start + length - 1]] for start in range(0, len(tokens), length - 1)]
    if not prefix:
        return texts
    settings = Settings(max_tokens=length - 1, positions=positions)
    return texts + model.encode(
        sample_shifted(model, rows, n=_SAMPLES, settings=settings, seed=seed).texts, max_tokens=length
    )


def _save(steered: Any, model: ResidualModel, folder: Path) -> None:
    with silence_transformers():
        steered.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
    (folder / BLOCKS_NOTE).write_text(json.dumps({"blocks": model.blocks_path}), encoding="utf-8")
    mode = (folder / BLOCKS_NOTE).stat().st_mode
    for file in folder.iterdir():  # safetensors makes its files readable for the owner alone
        file.chmod(mode)


def _logit_difference(
    folder: Path, model: ResidualModel, rows: Mapping[int, Tensor], positions: str, texts: Sequence[Sequence[int]]
) -> float:
    """Return the largest difference between the logits of a checkpoint and of live steering, over some texts."""
    with silence_transformers():
        from transformers.models.auto.modeling_auto import AutoModelForCausalLM

        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        except Exception as error:
            raise ModelError(f"the steered checkpoint cannot be loaded again ({short_message(error)})") from error
    difference, scale = 0.0, 1.0
    for ids in texts:
        batch = model.batch([ids])
        with torch.no_grad():
            with shift_layers(model, sum_by_layer(rows, batch["input_ids"], positions)):
                live = model.hf(**batch, use_cache=False).logits
            written = loaded.to(model.device).eval()(**batch, use_cache=False).logits
        difference, scale = max(difference, float((written - live).abs().max())), max(scale, float(live.std()))
    if not difference <= TOLERANCE * scale:
        raise ModelError(
            f"family {model.hf.config.model_type!r} does not hold this shift exactly (its logits differ by "
            f"{difference:.2g} from those of live steering; some families norm a block's output): write a .gguf for "
            "llama.cpp, or steer live"
        )
    return difference


def _temporary_folder(folder: Path) -> Path:
    return folder.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"


def _move_into_place(temporary: Path, folder: Path, force: bool) -> None:
    """Rename the new folder; an existing checkpoint is renamed first and removed last."""
    if not os.path.lexists(folder):
        os.rename(temporary, folder)
        return
    if not force or not is_checkpoint(folder):
        raise OutputError(f"{quote(folder)} exists: another process has just written it, choose another path")
    previous = _temporary_folder(folder)
    os.rename(folder, previous)
    try:
        os.rename(temporary, folder)
    except OSError:
        os.rename(previous, folder)
        raise
    shutil.rmtree(previous, ignore_errors=True)
