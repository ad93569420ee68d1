"""`steer show --model M`: what a model is, what it takes, and how it is known again."""

import json
from typing import TYPE_CHECKING, Any

from cli.options.model_options import open_model
from cli.terminal.output import emit, emit_json, record
from cli.terminal.progress import Progress
from vectors.common.validation import escape_invisible

if TYPE_CHECKING:
    from vectors.model.residual_model import ResidualModel


def show_model(name: str, base: str | None, device: str | None, dtype: str | None, trust: bool, as_json: bool) -> None:
    """Load a model and print the facts of it."""
    with Progress() as progress:
        model = open_model(name, device, dtype, trust, progress, base)
        progress("reading its weights")
        facts = facts_of(model)
        progress.clear()
    if as_json:
        emit_json(json.dumps(facts))
        return
    start, ends = facts["start_token"], facts["end_tokens"]
    rows = {
        "family": f"{facts['family']} ({facts['class']})",
        "blocks": f"{facts['n_layers']}, layers 0 to {facts['n_layers'] - 1}, at {facts['blocks_path']}",
        "width": str(facts["d_model"]),
        "vocabulary": f"{facts['vocabulary']} embeddings, {facts['tokens']} tokens in the tokenizer",
        "start token": _token(start) if start else "none: give a prompt",
        "end tokens": ", ".join(map(_token, ends)) or "none: texts end at --max-tokens",
        "context": f"{facts['context']} tokens",
        "weights": f"{facts['parameters']:,} in {facts['dtype']}"
        + (f", read from {facts['file_precision']}" if facts["file_precision"] else "")
        + f", on {facts['device']}",
        "memory": f"{facts['memory_bytes'] / 1e6:,.0f} MB for the weights",
        "library": f"{len(facts['concepts'])} concepts; yours are in {facts['library']}",
        "model hash": facts["hash"],
        "fingerprint": _fingerprint(facts["passport"]),
    }
    emit(f"{escape_invisible(facts['name'])}\n{record(rows)}")


def facts_of(model: "ResidualModel") -> dict[str, Any]:
    """Return what is known of a model, as a plain JSON object."""
    from vectors.common.paths import model_folder
    from vectors.concepts.library import names
    from vectors.model.weights import memory_of

    weights, size = memory_of(model.hf)
    passport = model.passport
    known = {} if passport is None else passport.to_dict()
    return {
        "name": model.name, "family": str(model.hf.config.model_type), "class": type(model.hf).__name__,
        "n_layers": model.n_layers, "blocks_path": model.blocks_path, "d_model": model.d_model,
        "vocabulary": model.n_embeddings, "tokens": len(model.tokenizer),
        "start_token": None if model.bos_id is None else _named(model, model.bos_id),
        "end_tokens": [_named(model, token) for token in sorted(model.eos_ids)], "context": model.max_context,
        "dtype": str(model.dtype).removeprefix("torch."), "file_precision": model.file_precision,
        "device": str(model.device), "parameters": weights, "memory_bytes": size,
        "library": str(model_folder(model.name, model.hash)), "concepts": names(model), "hash": model.hash,
        "passport": {key: value for key, value in known.items() if not _is_sample(key)}
        | ({"sampled": len(passport.values), "on_grid": passport.on_grid} if passport else {}),
    }  # fmt: skip


def _is_sample(key: str) -> bool:
    return key in ("values", "steps", "gains")


def _named(model: "ResidualModel", token: int) -> dict[str, Any]:
    return {"id": token, "text": str(model.tokenizer.convert_ids_to_tokens(token))}


def _token(token: dict[str, Any]) -> str:
    return f"{token['text']!r} ({token['id']})"


def _fingerprint(passport: dict[str, Any]) -> str:
    if not passport:
        return "none: its blocks have no linear modules that can be read, so only the hash knows it"
    kind = "quantised weights" if passport["on_grid"] else "weights that are not quantised"
    return f"{passport['sampled']} {kind}, layout {passport['layout']}, tokens {passport['tokenizer']}"
