"""A steered checkpoint: a folder whose weights carry a shift, for engines that know nothing of steering."""

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
from vectors.formats.checkpoint.biases import add_biases, twin_of, with_biases
from vectors.formats.checkpoint.model_card import describe, is_checkpoint
from vectors.formats.checkpoint.neurons import grow, spread, write_at_start
from vectors.formats.layer_shifts import checked
from vectors.model.hooks import shift_layers
from vectors.model.loading import BLOCKS_NOTE, short_message, silence_transformers
from vectors.model.residual_model import ResidualModel

HELD: Final = ("all", "bos", "not-bos")
TOLERANCE: Final = 1e-4
"""How far the folder's logits may be from those of live steering, relative to their spread (or to 1)."""

_TOKENS = 16_384  # of texts of any tokens
_LENGTH = 96  # tokens of a text
_STEERED = 16  # texts that are sampled


def write_checkpoint(
    path: str | Path,
    model: ResidualModel,
    deltas: Mapping[int, Tensor],
    *,
    positions: str = "all",
    about: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Write a folder in Hugging Face's format whose logits are those of live steering, and return its path.

    A shift at every position becomes a bias, one at the start token neurons that see nothing else; a family that has
    no biases is written as one that has, where that is the same (Mistral and Qwen2 as Llama). The folder is loaded
    again and compared with live steering before it takes its name: nothing is left where anything fails.

    Of a shift at the start token, texts must begin with that and have it nowhere else: where it stands twice in a row,
    no weights can tell one from the other.

    Args:
        path: a folder that does not exist.
        model: in float32.
        deltas: by 0-based block, what is added to its output, "d_model" each.
        positions: where: `all`, `bos` or `not-bos`.
        about: what the folder says of the point, plain JSON.
        force: replace a folder that is such a checkpoint already; no other one is ever replaced.

    Raises:
        OutputError: other positions, or a place that cannot be written.
        ModelError: a family that cannot hold it, a model in another dtype, a start token that looks like others, or
            logits that are not those of live steering.
    """
    if positions not in HELD:
        raise OutputError(
            f"a shift at positions {positions} depends on what is being written, and weights do not: choose one of "
            f"{', '.join(HELD)}"
        )
    place = check_folder(path, force=force)
    rows = checked(deltas, model, kind=OutputError)
    _check_model(model)
    spare = place.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        twin, known = _steered(model, rows, positions)
        _save(twin, model, spare)
        fresh = _texts(model, rows, positions, seed=1)[-2 * _STEERED :]  # that no neuron was fit on
        known |= {"difference": _difference(spare, model, rows, positions, fresh)}
        describe(spare, model, rows, positions, known | dict(about or {}))
        _name(spare, place, force)
    except OSError as error:
        raise OutputError(
            f"cannot write {quote(place)} ({error.strerror}): choose a path that can be written"
        ) from error
    finally:
        shutil.rmtree(spare, ignore_errors=True)
    return place


def check_folder(path: str | Path, *, force: bool = False) -> Path:
    """Return where a checkpoint can go, or say why not, without touching it.

    Raises:
        OutputError: what is there is no checkpoint of ours, or is one and `force` is not given; or nothing can be
            written there.
    """
    place = expand_path(path, OutputError)
    if not place.name:
        raise OutputError(f"{quote(place)} names no folder: give the path of a new one")
    if os.path.lexists(place):
        if place.is_symlink() or not is_checkpoint(place):
            raise OutputError(f"{quote(place)} exists and is no steered checkpoint: choose another path")
        if not force:
            raise OutputError(f"{quote(place)} exists: pass --force (force=True) to replace it, or choose another path")
    if not place.parent.is_dir():
        raise OutputError(f"cannot write {quote(place)}: there is no folder {quote(place.parent)}, create it first")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {quote(place)}: you may not write there, choose another path")
    return place


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
            "carry: give a model of transformers' own families"
        )


def _steered(model: ResidualModel, rows: Mapping[int, Tensor], positions: str) -> tuple[Any, dict[str, Any]]:
    """A copy of the model that carries the shift, sharing the weights that stay as they are, and what it measures."""
    twin = with_biases(twin_of(model.hf), model.blocks_path, rows, model.d_model)
    if positions == "all":
        add_biases(twin, model.blocks_path, rows)
        return twin, {}
    first = grow(twin, model.blocks_path, model.d_model)
    if positions == "not-bos":
        add_biases(twin, model.blocks_path, rows)
    ids = _texts(model, rows, positions, seed=0)
    sign = 1.0 if positions == "bos" else -1.0
    return twin, {"start_margin": write_at_start(twin, first, model, rows, ids, sign=sign, positions=positions)}


def _texts(model: ResidualModel, rows: Mapping[int, Tensor], positions: str, *, seed: int) -> list[list[int]]:
    """Texts of any tokens in any order, of all the vocabulary if it is not too large, and steered ones."""
    prefix, known = [] if model.bos_id is None else [model.bos_id], len(model.hf.get_input_embeddings().weight)
    length = min(_LENGTH, model.max_context)
    random = torch.Generator().manual_seed(seed)
    drawn = torch.cat([torch.randperm(known, generator=random) for _ in range(1 + _TOKENS // known)])[:_TOKENS]
    others = [token for token in drawn.tolist() if token not in prefix]
    texts = [[*prefix, *others[at : at + length - 1]] for at in range(0, len(others), length - 1)]
    if not prefix:
        return texts
    settings = Settings(max_tokens=length - 1, positions=positions)
    return texts + model.encode(
        sample_shifted(model, rows, n=_STEERED, settings=settings, seed=seed).texts, max_tokens=length
    )


def _save(twin: Any, model: ResidualModel, folder: Path) -> None:
    with silence_transformers():
        twin.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
    (folder / BLOCKS_NOTE).write_text(json.dumps({"blocks": model.blocks_path}), encoding="utf-8")
    usual = (folder / BLOCKS_NOTE).stat().st_mode
    for file in folder.iterdir():  # safetensors writes for the owner alone; who serves the folder may be another
        file.chmod(usual)


def _difference(
    folder: Path, model: ResidualModel, rows: Mapping[int, Tensor], positions: str, texts: Sequence[Sequence[int]]
) -> float:
    """How far the logits of the folder are from those of live steering, at every position of some texts."""
    with silence_transformers():
        from transformers.models.auto.modeling_auto import AutoModelForCausalLM

        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        except Exception as error:
            raise ModelError(f"the steered checkpoint cannot be loaded again ({short_message(error)})") from error
    off, widest = 0.0, 1.0
    for ids in texts:
        batch = model.batch([ids])
        with torch.no_grad():
            with shift_layers(model, spread(rows, batch["input_ids"], positions)):
                live = model.hf(**batch, use_cache=False).logits
            held = loaded.to(model.device).eval()(**batch, use_cache=False).logits
        off, widest = max(off, float((held - live).abs().max())), max(widest, float(live.std()))
    if not off <= TOLERANCE * widest:
        raise ModelError(
            f"family {model.hf.config.model_type!r} does not hold this shift exactly (its logits differ by {off:.2g} "
            "from those of live steering; some families norm what a block writes): write a .gguf for "
            "llama.cpp, or steer live"
        )
    return off


def _name(spare: Path, place: Path, force: bool) -> None:
    """Give the new folder its name; an older checkpoint is put aside first and removed last."""
    if not os.path.lexists(place):
        os.rename(spare, place)
        return
    if not force or not is_checkpoint(place):
        raise OutputError(f"{quote(place)} exists: another process has just written it, choose another path")
    aside = place.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    os.rename(place, aside)
    try:
        os.rename(spare, place)
    except OSError:
        os.rename(aside, place)
        raise
    shutil.rmtree(aside, ignore_errors=True)
