"""Write a discovery to a safetensors file and read it back; the user's library holds the last one of each model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from vectors.common.errors import OutputError, SteerError, VectorError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.paths import VECTOR_SUFFIX, model_folder, writable_model_folder
from vectors.common.tensor_file import read_tensors
from vectors.common.validation import check_integer, check_number, list_names, quote
from vectors.concepts.vector import ModelLike
from vectors.concepts.vector_fields import MAX_LAYER, check_text
from vectors.discovery.candidates import Candidate, Discovery, Likeness
from vectors.discovery.decomposition import METHODS

FORMAT = "steer-discovery/1"
MAX_BYTES = 2**30  # enough for four thousand texts at any model's width
MAX_HEADER = 2**24
MAX_CHARACTERS = 20_000
"""Longer texts are cut off in the file; no model here reads as many characters."""

_TENSORS = ("filters", "means", "parts", "scores", "texts")
_NUMBERS = ("share", "skewness", "kurtosis")
_STRINGS = ("top", "bottom", "snippets", "away")
_LIKENESSES = ("like", "unlike")
_ROWS = {"part": "parts", "filter": "filters", "scores": "scores"}


def last_discovery_path(name: str, digest: str) -> Path:
    """Return the path of a model's last discovery, in a folder that is not searched for concepts."""
    return model_folder(name, digest) / "discovered" / f"last{VECTOR_SUFFIX}"


def save_last_discovery(discovery: Discovery) -> Path:
    """Write a discovery where `load_last_discovery` finds it, replacing the previous one, and return its path.

    Raises:
        OutputError: the user's library cannot be written.
    """
    folder = writable_model_folder(discovery.model, discovery.model_hash) / "discovered"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make {quote(folder)} ({error.strerror}): set STEER_HOME to another folder"
        ) from error
    return save_discovery(discovery, last_discovery_path(discovery.model, discovery.model_hash), force=True)


def load_last_discovery(model: ModelLike) -> Discovery:
    """Return the last discovery in a model.

    Raises:
        VectorError: there is none, or its file cannot be used.
    """
    path = last_discovery_path(model.name, model.hash)
    if not path.exists():
        raise VectorError(f"nothing has been discovered in model {quote(model.name)} yet: run `steer discover` first")
    return load_discovery(path)


def save_discovery(discovery: Discovery, path: str | Path, *, force: bool = False) -> Path:
    """Write a discovery to a `.safetensors` file in one step, and return its path.

    Raises:
        OutputError: a path with another ending, that exists (unless `force`), or that cannot be written.
    """
    if not str(path).endswith(VECTOR_SUFFIX):
        raise OutputError(f"{quote(path)} does not end with {VECTOR_SUFFIX}: give the discovery that ending")
    candidates = discovery.candidates
    texts = json.dumps([text[:MAX_CHARACTERS] for text in discovery.texts]).encode()
    tensors = {
        "parts": torch.stack([candidate.part for candidate in candidates]),
        "filters": torch.stack([candidate.filter for candidate in candidates]),
        "scores": torch.stack([candidate.scores for candidate in candidates]),
        "means": discovery.means,
        "texts": torch.from_numpy(np.frombuffer(texts, dtype=np.uint8).copy()),
    }
    fields: dict[str, Any] = {
        key: getattr(discovery, key) for key in ("model", "model_hash", "layer", "method", "seed", "own")
    }
    fields |= {"format": FORMAT, "candidates": [candidate_to_dict(candidate) for candidate in candidates]}
    data: bytes = safetensors.torch.save(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        {"discovery": json.dumps(fields, allow_nan=False)},
    )
    return write_atomically(path, data, force=force)


def candidate_to_dict(candidate: Candidate) -> dict[str, Any]:
    """Return the fields of a candidate as plain JSON, without its tensors."""
    fields: dict[str, Any] = {key: getattr(candidate, key) for key in ("number", *_NUMBERS)}
    fields |= {key: list(getattr(candidate, key)) for key in _STRINGS}
    for key in _LIKENESSES:
        likeness: Likeness | None = getattr(candidate, key)
        fields[key] = None if likeness is None else asdict(likeness)
    return fields


def load_discovery(path: str | Path) -> Discovery:
    """Read and check a discovery file.

    Raises:
        VectorError: a file that is missing, damaged, of another format, or whose contents do not belong together.
    """
    data = read_bytes(path, "a discovery (.safetensors)", limit=MAX_BYTES, error=VectorError)
    try:
        return _parse(data)
    except SteerError as error:
        raise VectorError(f"{quote(path)} is not a usable discovery ({error}): run `steer discover` again") from error


def _parse(data: bytes) -> Discovery:
    tensors, metadata = read_tensors(data, limit=MAX_HEADER)
    try:
        fields = json.loads(metadata["discovery"])
        texts = json.loads(bytes(tensors["texts"].numpy().tobytes()))
        if fields["format"] != FORMAT:
            raise VectorError(f"its format is {quote(fields['format'])}, expected {FORMAT}")
        words = {key: check_text(fields[key], f"its {key}", empty=False) for key in ("model", "model_hash", "method")}
        layer = check_integer(fields["layer"], "its layer", high=MAX_LAYER, error=VectorError)
        seed = check_integer(fields["seed"], "its seed", error=VectorError)
        own, listed = fields["own"], fields["candidates"]
        _check(tensors, texts, listed, words["method"], own)
        candidates = tuple(_candidate(number, entry, tensors) for number, entry in enumerate(listed, start=1))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise VectorError(f"it is damaged or no discovery ({quote(error)})") from error
    return Discovery(
        **words, layer=layer, seed=seed, own=own, texts=tuple(texts), means=tensors["means"], candidates=candidates
    )


def _check(tensors: dict[str, Tensor], texts: object, listed: object, method: str, own: object) -> None:
    """Refuse contents that do not belong together."""
    if (
        not isinstance(texts, list)
        or len(texts) < 2
        or not all(isinstance(text, str) and text.strip() for text in texts)
    ):
        raise VectorError("its texts are no list of texts")
    if not isinstance(listed, list) or not listed or not isinstance(own, bool) or method not in METHODS:
        raise VectorError("it lists no candidates of a known method")
    if sorted(tensors) != sorted(_TENSORS):
        raise VectorError(f"it holds the tensors {list_names(sorted(tensors))}")
    width = tensors["means"].shape[-1]
    shapes = {"parts": (len(listed), width), "filters": (len(listed), width), "scores": (len(listed), len(texts))}
    for name, shape in {**shapes, "means": (len(texts), width)}.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32 or not bool(tensor.isfinite().all()):
            raise VectorError(f"its {name} are {tuple(tensor.shape)} of {tensor.dtype}, expected {shape}, finite")
    if not bool((tensors["parts"].norm(dim=1) > 0).all()):
        raise VectorError("one of its parts has length zero")


def _candidate(number: int, entry: Any, tensors: dict[str, Tensor]) -> Candidate:
    fields: dict[str, Any] = {key: check_number(entry[key], f"its {key}", error=VectorError) for key in _NUMBERS}
    fields |= {key: tuple(entry[key]) for key in _STRINGS}
    if entry["number"] != number or not all(isinstance(string, str) for key in _STRINGS for string in fields[key]):
        raise VectorError(f"its candidate {number} has fields of other types")
    fields |= {key: tensors[name][number - 1] for key, name in _ROWS.items()}
    fields |= {key: None if entry[key] is None else _likeness(entry[key]) for key in _LIKENESSES}
    return Candidate(number=number, **fields)


def _likeness(entry: Any) -> Likeness:
    cosine = None if entry["cosine"] is None else check_number(entry["cosine"], "a cosine", error=VectorError)
    auc = check_number(entry["auc"], "an AUC", error=VectorError)
    return Likeness(name=check_text(entry["name"], "a concept's name", empty=False), auc=auc, cosine=cosine)
