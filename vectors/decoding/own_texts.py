"""Texts that a model writes without a prompt, kept on disk: many concepts are compared with the same ones."""

import contextlib
import json
from pathlib import Path

from vectors.common.errors import SteerError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.paths import model_folder, writable_model_folder
from vectors.common.progress import Advance
from vectors.decoding.prompt_free_samples import MAX_TOKENS, sample_texts
from vectors.model.residual_model import ResidualModel

_FORMAT = "steer-own-texts/1"
_MAX_BYTES = 64 * 2**20


def own_texts(
    model: ResidualModel, n: int, *, seed: int = 0, max_tokens: int = MAX_TOKENS, progress: Advance | None = None
) -> list[str]:
    """Return the first `n` texts that a model writes without a prompt under a seed, without blank ones.

    They are kept in the model's folder of the user's library; if that is not writable, they are sampled each time.

    Args:
        model: the model.
        n: number of texts.
        seed: seed of the tokens.
        max_tokens: length limit of a text.
        progress: called with 1 after each text that is sampled.

    Raises:
        ModelError: the model has no start token.
    """
    name = Path("natural") / f"texts-{seed}-{max_tokens}-{str(model.dtype).removeprefix('torch.')}.json"
    texts = _read(model_folder(model.name, model.hash) / name, model)
    if progress:
        progress(min(n, len(texts)))
    if len(texts) < n:
        texts += sample_texts(
            model, n - len(texts), seed=seed, max_tokens=max_tokens, first=len(texts), progress=progress
        )
        with contextlib.suppress(SteerError, OSError):
            path = writable_model_folder(model.name, model.hash) / name
            path.parent.mkdir(exist_ok=True)
            record = {"format": _FORMAT, "model_hash": model.hash, "texts": texts}
            write_atomically(path, json.dumps(record).encode(), force=True)
    return [text for text in texts[:n] if text.strip()]


def _read(path: Path, model: ResidualModel) -> list[str]:
    """Return the texts of a file; none if it is missing, damaged or of another model."""
    try:
        record = json.loads(read_bytes(path, "texts of a model", limit=_MAX_BYTES))
        texts = record["texts"]
        known = (record["format"], record["model_hash"]) == (_FORMAT, model.hash)
    except (SteerError, ValueError, KeyError, TypeError, RecursionError):
        return []
    sound = known and isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    return list(texts) if sound else []
