"""Where a model comes from: a folder, the hub, a GGUF file, an adapter with its base."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from vectors.common.errors import InputError, ModelError, SteerWarning
from vectors.common.progress import Progress
from vectors.common.validation import list_names, quote
from vectors.model.loading import check_files, download, find_model, load_checkpoint, load_tokenizer
from vectors.model.local_path import holds_weights, model_name

NOTE_FILE: Final = "adapter_config.json"
"""The file that makes a folder an adapter of PEFT."""

_ADAPTER_FILES: Final = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class Opened:
    """A loaded model and its tokenizer.

    Attributes:
        hf: the transformers model, on the CPU.
        tokenizer: its tokenizer.
        name: the name for vectors made in it.
        blocks_path: where its blocks lie, if a file beside the weights says so.
        precision: how its file is quantised, such as Q4_K_M; None for weights as they were trained.
    """

    hf: Any
    tokenizer: Any
    name: str
    blocks_path: str | None = None
    precision: str | None = None


def open_model(
    name_or_path: str | Path,
    dtype: torch.dtype | None,
    *,
    base: str | Path | None,
    trust_remote_code: bool,
    progress: Progress,
    on_cpu: bool,
) -> Opened:
    """Load the model that a name or a path stands for; the arguments are those of `load_model`.

    Raises:
        InputError: a base for a model that has no adapter.
        ModelError: there is no such model, or it cannot be loaded.
    """
    path, from_hub = find_model(name_or_path)
    hub_name = str(name_or_path) if from_hub else None
    if path.is_file() or not (path / NOTE_FILE).is_file():
        if base is not None:
            raise InputError(
                f"{quote(name_or_path)} is no adapter (it has no {NOTE_FILE}): leave the base {quote(base)} out"
            )
        return _open_plain(path, hub_name, dtype, trust_remote_code, progress, on_cpu)
    from vectors.model.sources.adapters import (
        check_base,
        merge,
        read_adapter,
        without_adapter,
    )  # peft is slow to import

    if hub_name is not None:
        download(hub_name, *_ADAPTER_FILES)
    adapter = read_adapter(path)
    beside = base is None and (path / "config.json").is_file() and holds_weights(path)
    name = hub_name or model_name(path)
    if beside:
        with without_adapter(path) as plain:
            opened = _open_plain(plain, None, dtype, trust_remote_code, progress, on_cpu, shown=path)
    else:
        found, base_from_hub = _find_base(path, adapter, base)
        base_name = str(base) if base_from_hub else None
        check_base(path, found, base_name or model_name(found))
        opened = _open_plain(found, base_name, dtype, trust_remote_code, progress, on_cpu)
    progress("merging the adapter", 0, 0)
    hf = merge(opened.hf.eval(), path, path.name if beside else opened.name)
    tokenizer = opened.tokenizer if beside else _tokenizer_of(path, trust_remote_code) or opened.tokenizer
    where = "the weights beside it" if beside else opened.name
    warnings.warn(f"the adapter {path} is applied to {where}", SteerWarning, stacklevel=3)
    return Opened(hf, tokenizer, name, opened.blocks_path, opened.precision)


def _open_plain(
    path: Path, hub_name: str | None, dtype: torch.dtype | None, trust: bool, progress: Progress, on_cpu: bool,
    shown: Path | None = None,
) -> Opened:  # fmt: skip
    """Load a model without an adapter: a GGUF file, or a folder in Hugging Face format."""
    gguf = path if path.is_file() else _gguf_in(path, shown or path, hub_name)
    if gguf is None:
        if hub_name is None:
            check_files(path, shown or path)
        hf, tokenizer, noted = load_checkpoint(path, dtype, trust_remote_code=trust, hub_name=hub_name, shown=shown)
        return Opened(hf, tokenizer, hub_name or model_name(shown or path), noted)
    from vectors.model.sources.gguf.convert import converted  # only such a file needs it

    kept = converted(gguf, progress)
    if kept.note:
        warnings.warn(kept.note, SteerWarning, stacklevel=4)
    if dtype is None and kept.dtype != "bfloat16":  # float16 is where it is kept, not how it is computed
        dtype = torch.float32 if on_cpu else torch.bfloat16
    hf, tokenizer, noted = load_checkpoint(kept.folder, dtype, trust_remote_code=False, hub_name=None)
    return Opened(hf, tokenizer, model_name(gguf), noted, kept.precision)


def _gguf_in(folder: Path, shown: Path, hub_name: str | None) -> Path | None:
    """Return the GGUF file that is the model of a folder; None if that has weights in Hugging Face format.

    Raises:
        ModelError: a hub model without either, or a folder with several GGUF files.
    """
    has_config, beside = (folder / "config.json").is_file(), sorted(path.name for path in folder.glob("*.gguf"))
    if not beside:
        if hub_name is not None and not has_config:
            raise ModelError(
                f"{hub_name} has no config.json: if it is a repository of GGUF files, download one of them "
                f"(hf download {hub_name} FILE.gguf) and give its path"
            )
        return None
    if has_config and (hub_name is not None or holds_weights(folder)):  # weights of the hub are not here yet
        if hub_name is None:
            warnings.warn(
                f"folder {quote(shown)} holds weights in Hugging Face format, which are used, and "
                f"{list_names(beside)}: give the path of such a file to use that instead",
                SteerWarning,
                stacklevel=5,
            )
        return None
    from vectors.model.sources.gguf.choose import choose_file  # only such a folder needs it

    return choose_file(folder)


def _find_base(folder: Path, adapter: dict[str, Any], base: str | Path | None) -> tuple[Path, bool]:
    """Return an adapter's base, the one given or the one that it names, and whether it is from the hub."""
    if base is not None:
        return find_model(base)
    from vectors.model.sources.adapters import base_of

    named = base_of(folder, adapter)
    if isinstance(named, Path):
        return named, False
    if named is not None and (cached := _cached(named)) is not None:
        return cached, False
    of = f" of {quote(named)}" if named else ""
    raise ModelError(
        f"{quote(folder)} is an adapter{of}, and that model is not here: name it with --base (base=), or merge the "
        "adapter (model.merge_and_unload(), then save_pretrained) and give that folder"
    )


def _cached(name: str) -> Path | None:
    """Return the folder of a hub model that was downloaded before; nothing is downloaded that the user did not name."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # no name of a hub model, or not downloaded
        return None


def _tokenizer_of(folder: Path, trust_remote_code: bool) -> Any:
    """Return the tokenizer in an adapter's folder, which may know more tokens than the base's; None without one."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return None
    return load_tokenizer(folder, trust_remote_code=trust_remote_code)
