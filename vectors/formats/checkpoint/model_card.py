"""Write the metadata of a steered checkpoint: a JSON file and a model card."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from vectors.model.residual_model import ResidualModel

METADATA: Final = "steering.json"
FORMAT: Final = "steer-checkpoint/1"
_POSITIONS: Final = {
    "all": "every position",
    "bos": "the start token",
    "not-bos": "every position but the start token's",
}


def is_checkpoint(folder: Path) -> bool:
    """Whether `write_checkpoint` wrote a folder."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(metadata, dict) and metadata.get("format") == FORMAT


def write_metadata(
    folder: Path, model: ResidualModel, rows: Mapping[int, Tensor], positions: str, about: Mapping[str, Any]
) -> None:
    """Write the base model, the shifts and their positions, and `about` to `steering.json` and to the model card."""
    versions = {name: version(name) for name in ("torch", "transformers")}
    with suppress(PackageNotFoundError):
        versions["steer-sampler"] = version("steer-sampler")
    metadata = {
        "format": FORMAT,
        "base_model": model.name,
        "base_hash": model.hash,
        "positions": positions,
        "layers": {str(layer): float(row.double().norm()) for layer, row in rows.items()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        **about,
    }
    (folder / METADATA).write_text(json.dumps(metadata, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(metadata), encoding="utf-8")


def _card(metadata: Mapping[str, Any]) -> str:
    point = f"`{metadata['expression']}`" if "expression" in metadata else "a shift"
    shifts = ", ".join(f"{norm:.4g} after block {layer}" for layer, norm in metadata["layers"].items())
    caution = (
        "" if metadata["positions"] == "all" else
        "\nTexts must begin with the start token and must not contain it elsewhere, since neurons that detect it carry "
        "the steering. They were fit in float32: compare a cast to another dtype with this one before you use it.\n"
    )  # fmt: skip
    return (
        "---\nlibrary_name: transformers\ntags: [steer]\n---\n\n"
        f"# {metadata['base_model']}, steered\n\n"
        f"The weights of {metadata['base_model']} with {point} added to the residual stream at "
        f"{_POSITIONS[metadata['positions']]}: a shift of length {shifts}. It loads like any model and gives the same "
        f"logits as the base model under live steering; `{METADATA}` has the measured difference and the hash of the "
        f"base weights.\n{caution}"
    )
