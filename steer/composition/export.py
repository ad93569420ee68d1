"""Export a steering point to a file or a folder that other libraries and engines read."""

from pathlib import Path
from typing import Final

from torch import Tensor

from steer.composition.steering_point import SteeringPoint
from vectors.common.errors import InputError, OutputError
from vectors.common.files import check_output_path
from vectors.common.validation import quote
from vectors.formats.layer_shifts import check_shifts
from vectors.model.positions import POSITIONS, check_positions, parts_of
from vectors.model.residual_model import ResidualModel

FORMATS: Final = ("gguf", "npz", "safetensors", "checkpoint")
"""Control vectors of llama.cpp and repeng; arrays by layer, in two formats; a model folder with the point in it."""


def export(
    point: SteeringPoint,
    model: ResidualModel,
    path: str | Path,
    *,
    format: str | None = None,
    positions: str | None = None,
    force: bool = False,
) -> Path:
    """Write a steering point for other libraries and engines, atomically, and return its path.

    Args:
        point: the point; its method must be `exact` or `sum`, since a file can only hold shifts that are added.
        model: the model that it was composed for.
        path: a new file or, for a checkpoint, a new folder.
        format: `gguf`, `npz`, `safetensors` or `checkpoint`; by default the one of the path's suffix, and a checkpoint
            if there is none.
        positions: positions at which the point is added; by default those that its concepts were made for. A file has
            one set of positions: of a point with several, it gets the shift at the start token if that is asked for,
            and otherwise the one of generated tokens, without what fades.
        force: replace an existing file, or a checkpoint that was exported before.

    Raises:
        InputError: an unknown format, or a suffix of another format.
        OutputError: a point that the format cannot hold, or a path that cannot be written.
        ModelError: a model whose weights cannot hold the point, for a checkpoint.

    >>> import tempfile, steer, vectors
    >>> model = vectors.load_model()
    >>> point = steer.compose("cat + 0.5 sea", model)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(point, model, f"{folder}/cat.npz").name
    'cat.npz'
    """
    kind = check_target(path, format, force=force)
    if point.method == "rotate":
        raise OutputError("method 'rotate' turns the stream and adds nothing: compose with 'exact' or 'sum' to export")
    if positions is None and point.positions is None:
        names = ", ".join(dict.fromkeys(where for _, where in point.deltas))
        raise OutputError(
            f"the point has different shifts at positions {names}, and a file has one for all: choose positions with "
            "--positions (positions=...), such as all, which leaves out the start token's own shift and what fades"
        )
    where = check_positions(positions or str(point.positions), bos=model.bos_id is not None, scopes=True)
    if where not in POSITIONS:
        raise OutputError(f"positions {where} change as a text is written, and a file does not: choose {POSITIONS[1]}")
    rows = check_shifts(_rows(point, where), model, error=OutputError)
    if kind == "checkpoint":
        from vectors.formats.checkpoint.write import write_checkpoint

        description = {
            "expression": point.expression,
            "doses": point.doses,
            "method": point.method,
            "scale": point.scale,
            "vectors": {vector.name: vector.digest for vector in point.vectors},
        }
        return write_checkpoint(path, model, rows, positions=where, about=description, force=force)
    if kind == "gguf":
        from vectors.formats.gguf import write_gguf

        family = str(model.hf.config.model_type)
        return write_gguf(path, rows, model_type=family, positions=where, name=point.expression, force=force)
    from vectors.formats.arrays import write_arrays

    return write_arrays(path, rows, positions=where, name=point.expression, force=force)


def _rows(point: SteeringPoint, positions: str) -> dict[int, Tensor]:
    """Return by layer the one shift that a file holds; see `export`."""
    if point.positions is not None:
        return {layer: delta for (layer, _), delta in point.deltas.items()}
    part = "bos" if positions == "bos" else "generated"
    rows: dict[int, Tensor] = {}
    for (layer, where), delta in point.deltas.items():
        if ":" not in where and part in parts_of(where):
            rows[layer] = rows[layer] + delta if layer in rows else delta
    if not rows:
        raise OutputError(f"the point has no lasting shift at positions {positions}: choose other ones")
    return rows


def check_target(path: str | Path, format: str | None, *, force: bool = False) -> str:
    """Return the format in which a path is written, after checking that it can be written, without touching it.

    Raises:
        InputError: an unknown format, or a suffix of another format.
        OutputError: a path that cannot be written.

    >>> check_target("cat.gguf", None)
    'gguf'
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"format is {quote(format)}: choose from {', '.join(FORMATS)}")
    suffix = Path(path).suffix
    suffix_format = suffix.removeprefix(".") if suffix.removeprefix(".") in FORMATS[:3] else None
    if format is None and suffix and suffix_format is None:
        raise InputError(
            f"{quote(path)} ends with {quote(suffix)}, which says no format: end it with .gguf, .npz or .safetensors, "
            "or choose one with --format (format=...)"
        )
    kind = format or suffix_format or "checkpoint"
    if kind != "checkpoint":
        if suffix_format != kind:
            raise InputError(f"{quote(path)} does not end with .{kind}: give the file that ending")
        check_output_path(path, force=force)
    elif suffix_format is not None:
        raise InputError(f"{quote(path)} ends as a file, and a checkpoint is a folder: give it another name")
    else:
        from vectors.formats.checkpoint.write import check_folder

        check_folder(path, force=force)
    return kind
