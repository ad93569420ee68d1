"""What a steered checkpoint says of itself: a note for programs, a card for people."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from vectors.model.residual_model import ResidualModel

NOTE: Final = "steering.json"
FORMAT: Final = "steer-checkpoint/1"
_WHERE: Final = {"all": "every position", "bos": "the start token", "not-bos": "every position but the start token's"}


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one that `write_checkpoint` wrote."""
    try:
        told = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("format") == FORMAT


def describe(
    folder: Path, model: ResidualModel, rows: Mapping[int, Tensor], positions: str, about: Mapping[str, Any]
) -> None:
    """Write down what a folder holds: of which model, what was added where, and what was measured."""
    versions = {name: metadata.version(name) for name in ("torch", "transformers")}
    with suppress(metadata.PackageNotFoundError):
        versions["steer-sampler"] = metadata.version("steer-sampler")
    told = {
        "format": FORMAT,
        "base_model": model.name,
        "base_hash": model.hash,
        "positions": positions,
        "layers": {str(at): float(row.double().norm()) for at, row in rows.items()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        **about,
    }
    (folder / NOTE).write_text(json.dumps(told, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(told), encoding="utf-8")


def _card(told: Mapping[str, Any]) -> str:
    point = f"`{told['expression']}`" if "expression" in told else "a shift"
    shifts = ", ".join(f"{norm:.4g} after block {at}" for at, norm in told["layers"].items())
    start = (
        "" if told["positions"] == "all" else
        "\nTexts must begin with the start token, and have it nowhere else: neurons that see it carry the "
        "steering. They were fit in float32: compare a cast to another dtype with this one before you use it.\n"
    )  # fmt: skip
    return (
        "---\nlibrary_name: transformers\ntags: [steer]\n---\n\n"
        f"# {told['base_model']}, steered\n\n"
        f"The weights of {told['base_model']} with {point} added to the residual stream at "
        f"{_WHERE[told['positions']]}: a shift of length {shifts}. It loads as any model does, and samples as the base "
        f"model does under live steering; `{NOTE}` says what was measured, and which weights it was made of.\n{start}"
    )
