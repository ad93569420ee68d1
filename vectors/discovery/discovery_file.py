"""A discovery in one safetensors file, never pickle: the last one of each model is kept in the user's library."""

import json
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
from vectors.common.validation import check_integer, check_number, quote
from vectors.concepts.vector import MAX_LAYER, ModelLike
from vectors.concepts.vector_fields import check_text
from vectors.discovery.candidates import Candidate, Discovery, Likeness
from vectors.discovery.decomposition import METHODS

FORMAT = "steer-discovery/1"
MAX_BYTES = 2**30  # four thousand texts as wide as any model
MAX_HEADER = 2**24
LONGEST = 20_000
"""Characters of each text that are kept: more than any model here reads."""

_ROWS = ("filters", "means", "parts", "scores")
_FIGURES = ("share", "skewness", "kurtosis")
_TOKENS = ("top", "bottom", "snippets", "away")
_LIKENESSES = ("like", "unlike")


def last_place(name: str, digest: str) -> Path:
    """Return where the last discovery in a model is kept: not where its concepts are looked for."""
    return model_folder(name, digest) / "discovered" / f"last{VECTOR_SUFFIX}"


def keep_last(discovery: Discovery) -> Path:
    """Write a discovery where `load_last` finds it, in place of the one before; return the path.

    Raises:
        OutputError: when the user's library cannot be written.
    """
    folder = writable_model_folder(discovery.model, discovery.model_hash) / "discovered"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make {quote(folder)} ({error.strerror}): set STEER_HOME to another folder"
        ) from error
    return save_discovery(discovery, last_place(discovery.model, discovery.model_hash), force=True)


def load_last(model: ModelLike) -> Discovery:
    """Return the last discovery in a model.

    Raises:
        VectorError: when there is none, or its file is unusable.
    """
    place = last_place(model.name, model.hash)
    if not place.exists():
        raise VectorError(f"nothing has been discovered in model {quote(model.name)} yet: run `steer discover` first")
    return load_discovery(place)


def save_discovery(discovery: Discovery, path: str | Path, *, force: bool = False) -> Path:
    """Write a discovery to a `.safetensors` file, all or nothing, and return its path.

    Raises:
        OutputError: when the path ends otherwise, exists (unless `force`), or cannot be written.
    """
    if not str(path).endswith(VECTOR_SUFFIX):
        raise OutputError(f"{quote(path)} does not end with {VECTOR_SUFFIX}: give the discovery that ending")
    found = discovery.candidates
    texts = json.dumps([text[:LONGEST] for text in discovery.texts]).encode()
    rows = {
        "parts": torch.stack([each.part for each in found]),
        "filters": torch.stack([each.filter for each in found]),
        "scores": torch.stack([each.scores for each in found]),
        "means": discovery.means,
        "texts": torch.from_numpy(np.frombuffer(texts, dtype=np.uint8).copy()),
    }
    about: dict[str, Any] = {key: getattr(discovery, key) for key in ("model", "model_hash", "layer", "method", "seed")}
    about |= {"format": FORMAT, "own": discovery.own, "candidates": [facts(each) for each in found]}
    data: bytes = safetensors.torch.save(
        {name: row.contiguous() for name, row in rows.items()}, {"discovery": json.dumps(about, allow_nan=False)}
    )
    return write_atomically(path, data, force=force)


def facts(candidate: Candidate) -> dict[str, Any]:
    """Return everything of a candidate but its tensors, plain JSON."""
    found: dict[str, Any] = {key: getattr(candidate, key) for key in ("number", *_FIGURES)}
    found |= {key: list(getattr(candidate, key)) for key in _TOKENS}
    for key in _LIKENESSES:
        one: Likeness | None = getattr(candidate, key)
        found[key] = None if one is None else {"name": one.name, "auc": one.auc, "cosine": one.cosine}
    return found


def load_discovery(path: str | Path) -> Discovery:
    """Read and check a discovery.

    Raises:
        VectorError: when the file is missing, damaged, of another format, or holds what no discovery may.
    """
    data = read_bytes(path, "a discovery (.safetensors)", limit=MAX_BYTES, error=VectorError)
    try:
        return _parse(data)
    except SteerError as error:
        raise VectorError(f"{quote(path)} is not a usable discovery ({error}): run `steer discover` again") from error


def _parse(data: bytes) -> Discovery:
    rows, metadata = read_tensors(data, limit=MAX_HEADER)
    try:
        about = json.loads(metadata["discovery"])
        texts = json.loads(bytes(rows["texts"].numpy().tobytes()))
        if about["format"] != FORMAT:
            raise VectorError(f"its format is {quote(about['format'])}, expected {FORMAT}")
        plain = {key: check_text(about[key], f"its {key}", empty=False) for key in ("model", "model_hash", "method")}
        layer = check_integer(about["layer"], "its layer", high=MAX_LAYER, error=VectorError)
        seed, own, listed = (
            check_integer(about["seed"], "its seed", error=VectorError),
            about["own"],
            about["candidates"],
        )
        _check(rows, texts, listed, plain["method"], own)
        candidates = tuple(_candidate(at, each, rows) for at, each in enumerate(listed))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise VectorError(f"it is damaged or no discovery ({quote(error)})") from error
    return Discovery(
        **plain, layer=layer, seed=seed, own=own, texts=tuple(texts), means=rows["means"], candidates=candidates
    )


def _check(rows: dict[str, Tensor], texts: object, listed: object, method: str, own: object) -> None:
    """Refuse contents that do not belong together."""
    if (
        not isinstance(texts, list)
        or len(texts) < 2
        or not all(isinstance(text, str) and text.strip() for text in texts)
    ):
        raise VectorError("its texts are no list of texts")
    if not isinstance(listed, list) or not listed or not isinstance(own, bool) or method not in METHODS:
        raise VectorError("it lists no candidates of a known method")
    if sorted(rows) != sorted((*_ROWS, "texts")):
        raise VectorError(f"it holds the tensors {quote(', '.join(sorted(rows)))}")
    width = rows["means"].shape[-1]
    shapes = {"parts": (len(listed), width), "filters": (len(listed), width), "scores": (len(listed), len(texts))}
    for name, shape in {**shapes, "means": (len(texts), width)}.items():
        row = rows[name]
        if tuple(row.shape) != shape or row.dtype != torch.float32 or not bool(row.isfinite().all()):
            raise VectorError(f"its {name} are {tuple(row.shape)} of {row.dtype}, expected {shape}, finite")
    if not bool((rows["parts"].norm(dim=1) > 0).all()):
        raise VectorError("one of its parts has length zero")


def _candidate(at: int, listed: Any, rows: dict[str, Tensor]) -> Candidate:
    about: dict[str, Any] = {key: check_number(listed[key], f"its {key}", error=VectorError) for key in _FIGURES}
    about |= {key: tuple(listed[key]) for key in _TOKENS}
    if listed["number"] != at + 1 or not all(isinstance(one, str) for key in _TOKENS for one in about[key]):
        raise VectorError(f"its candidate {at + 1} is not described as one")
    about |= {key: None if listed[key] is None else _likeness(listed[key]) for key in _LIKENESSES}
    return Candidate(
        number=at + 1, part=rows["parts"][at], filter=rows["filters"][at], scores=rows["scores"][at], **about
    )


def _likeness(one: Any) -> Likeness:
    cosine = None if one["cosine"] is None else check_number(one["cosine"], "a cosine", error=VectorError)
    auc = check_number(one["auc"], "an AUC", error=VectorError)
    return Likeness(name=check_text(one["name"], "a concept's name", empty=False), auc=auc, cosine=cosine)
