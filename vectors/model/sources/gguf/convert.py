"""Convert a GGUF file once to a folder in Hugging Face format, in the user's library, and find it again."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vectors.common.errors import OutputError
from vectors.common.files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from vectors.common.paths import user_library
from vectors.common.progress import Progress
from vectors.common.validation import quote
from vectors.model.loading import find_blocks, silence_transformers
from vectors.model.sources.gguf.config import config_of
from vectors.model.sources.gguf.header import GgufFile, read_gguf_model
from vectors.model.sources.gguf.tensors import Weight, stored_dtype, tensors_of, weights_of
from vectors.model.sources.gguf.tokenizer import tokenizer_of

FOLDER: Final = "models"
RECORD: Final = "source.json"
"""A file of the converted model: what it was made from, and the sizes of its parts."""

_VERSION: Final = 1  # of the conversion: a folder of another one is made again
_SHARD: Final = 2 * 2**30  # bytes of weights in memory at a time
_LEFT_BEHIND: Final = 24 * 3600.0  # seconds after which an unfinished folder belongs to no running process


@dataclass(frozen=True)
class Converted:
    """A converted model.

    Attributes:
        folder: where it lies.
        precision: the quantisation of the file, such as Q4_K_M.
        dtype: the dtype its matrices are kept in, such as float16.
        note: where it was written and how large it is, if it was made now.
    """

    folder: Path
    precision: str
    dtype: str
    note: str | None = None


def converted(path: Path, progress: Progress) -> Converted:
    """Return the converted model of a GGUF file, and convert it if that was not done before.

    Raises:
        ModelError: a file that cannot be converted.
        OutputError: the user's library cannot be written to, or its disk is too small.
    """
    root = user_library() / FOLDER
    stat = path.stat()
    state = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    kept = list(_kept(root))
    for folder, record in kept:
        if state in record["files"]:
            return Converted(folder, record["precision"], record["dtype"])
    file = read_gguf_model(path)  # refuses what is no model before the whole file is read
    digest = _sha256(path, file.size, progress)
    for folder, record in kept:
        if record["sha256"] == digest:  # the file was moved or copied
            record["files"] = [*record["files"][-9:], state]
            with contextlib.suppress(OSError):
                _write_record(folder, record)
            return Converted(folder, record["precision"], record["dtype"])
    folder = root / f"{_slug(path)}-{digest[:8]}"
    record = {"version": _VERSION, "sha256": digest, "precision": file.precision, "files": [state]}
    return _convert(file, folder, record, progress)


def _kept(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the converted models that are whole, with their records."""
    with contextlib.suppress(OSError):
        for folder in sorted(root.iterdir()):
            if (record := _read_record(folder)) is not None:
                yield folder, record


def _read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a converted model, or None if it is of another version or lacks a part."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        same = record["version"] == _VERSION and isinstance(record["files"], list)
        whole = all((folder / name).stat().st_size == size for name, size in record["parts"].items())
        texts = (record["sha256"], record["precision"], record["dtype"])
        return record if same and whole and all(isinstance(text, str) for text in texts) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    temporary = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(temporary, folder / RECORD)


def _sha256(path: Path, size: int, progress: Progress) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while part := stream.read(2**24):
            digest.update(part)
            done += len(part)
            progress("reading the GGUF file", done, size)
    return digest.hexdigest()


def _slug(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", path.stem).strip("-.")[-60:].strip("-.") or "model"


def _convert(file: GgufFile, folder: Path, record: dict[str, Any], progress: Progress) -> Converted:
    """Write the model to a temporary folder, and rename that: a killed process leaves nothing that is used."""
    import torch

    config = config_of(file)
    with silence_transformers(), torch.device("meta"):
        from transformers import AutoModelForCausalLM

        from_config: Any = AutoModelForCausalLM.from_config
        hf = from_config(config)
    find_blocks(config, type(hf).__name__)  # refuse what cannot be steered before the work
    weights, tokenizer = weights_of(file, hf), tokenizer_of(file)
    total = sum(weight.n_bytes for weight in weights)
    temporary = folder.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    dtype = str(stored_dtype(file)).removeprefix("torch.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(folder.parent)
        if (free := shutil.disk_usage(folder.parent).free) < 1.05 * total:
            raise OutputError(
                f"converting {quote(file.path)} takes {_gigabytes(total)} and {quote(folder.parent)} has "
                f"{_gigabytes(free)} left: make room, or set STEER_HOME to another disk"
            )
        temporary.mkdir()
        with silence_transformers():
            config.architectures, config.dtype = [type(hf).__name__], dtype
            for leftover in ("quantization_config", "_name_or_path", "_model_name_or_path"):
                if hasattr(config, leftover):
                    delattr(config, leftover)
            config.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        _write_shards(temporary, file, config, weights, progress)
        parts = {part.name: part.stat().st_size for part in temporary.iterdir()}
        _write_record(temporary, record | {"parts": parts, "dtype": dtype})
        if folder.exists() and _read_record(folder) is None:
            shutil.rmtree(folder)  # damaged, or of another version
        with contextlib.suppress(FileExistsError, OSError):
            temporary.rename(folder)
        if _read_record(folder) is None:
            raise OutputError(f"{quote(folder)} cannot be written: delete it, or set STEER_HOME to a writable folder")
    except OSError as error:
        raise OutputError(
            f"cannot write {quote(folder)} ({error.strerror}): set STEER_HOME to a writable folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    size = sum(part.stat().st_size for part in folder.iterdir())
    note = f"{quote(file.path.name)} ({file.precision}) was converted once, to {folder} ({_gigabytes(size)})"
    return Converted(folder, file.precision, dtype, note)


def _write_shards(folder: Path, file: GgufFile, config: Any, weights: list[Weight], progress: Progress) -> None:
    from safetensors.torch import save_file

    groups: list[list[Weight]] = [[]]
    for weight in weights:
        if groups[-1] and sum(each.n_bytes for each in groups[-1]) + weight.n_bytes > _SHARD:
            groups.append([])
        groups[-1].append(weight)
    home: dict[str, str] = {}
    done = 0
    for number, group in enumerate(groups, 1):
        many = f"-{number:05}-of-{len(groups):05}" if len(groups) > 1 else ""
        name = f"model{many}.safetensors"
        tensors = {}
        for key, tensor in tensors_of(file, config, group):
            tensors[key] = tensor
            done += 1
            progress("converting the GGUF file", done, len(weights))
        save_file(tensors, folder / name, metadata={"format": "pt"})
        home |= dict.fromkeys(tensors, name)
    if len(groups) > 1:
        index = {"metadata": {"total_size": sum(weight.n_bytes for weight in weights)}, "weight_map": home}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _remove_left_behind(root: Path) -> None:
    """Delete the folders of processes that were killed long ago."""
    for folder in root.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _LEFT_BEHIND:
                shutil.rmtree(folder, ignore_errors=True)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
