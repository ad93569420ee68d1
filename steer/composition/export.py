"""A steering point taken elsewhere: written as a file or a folder that other libraries and engines read."""

from pathlib import Path
from typing import Final

from steer.composition.steering_point import SteeringPoint
from vectors.common.errors import InputError, OutputError
from vectors.common.files import check_output_path
from vectors.common.validation import quote
from vectors.formats.layer_shifts import check_shifts
from vectors.model.positions import POSITIONS, check_positions
from vectors.model.residual_model import ResidualModel

FORMATS: Final = ("gguf", "npz", "safetensors", "checkpoint")
"""Control vectors of llama.cpp and repeng; rows by layer, twice; a folder whose weights carry the point."""


def export(
    point: SteeringPoint,
    model: ResidualModel,
    path: str | Path,
    *,
    format: str | None = None,
    positions: str | None = None,
    force: bool = False,
) -> Path:
    """Write a steering point for other libraries and engines, all or nothing, and return its path.

    Args:
        point: what is added to the residual stream; only adding can be written down.
        model: what it was composed for.
        path: a new file or, for a checkpoint, a new folder.
        format: `gguf`, `npz`, `safetensors` or `checkpoint`. Default: by the path's ending, a checkpoint if it has
            none.
        positions: where the point is added. Default: what its concepts were made for.
        force: replace what is there: a file, or a checkpoint of ours.

    Raises:
        InputError: an unknown format, or an ending that says another one.
        OutputError: a point that the format cannot hold, or a place that cannot be written.
        ModelError: a model whose weights cannot carry it, for a checkpoint.

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
    added_at = check_positions(positions or point.positions, bos=model.bos_id is not None, scopes=True)
    if added_at not in POSITIONS:
        raise OutputError(
            f"positions {added_at} change as a text is written, and a file does not: choose {POSITIONS[1]}"
        )
    rows = check_shifts(point.deltas, model, error=OutputError)
    if kind == "checkpoint":
        from vectors.formats.checkpoint.write import write_checkpoint

        about = {
            "expression": point.expression,
            "doses": point.doses,
            "method": point.method,
            "scale": point.scale,
            "vectors": {vector.name: vector.digest for vector in point.vectors},
        }
        return write_checkpoint(path, model, rows, positions=added_at, about=about, force=force)
    if kind == "gguf":
        from vectors.formats.gguf import write_gguf

        family = str(model.hf.config.model_type)
        return write_gguf(path, rows, model_type=family, positions=added_at, name=point.expression, force=force)
    from vectors.formats.arrays import write_arrays

    return write_arrays(path, rows, positions=added_at, name=point.expression, force=force)


def check_target(path: str | Path, format: str | None, *, force: bool = False) -> str:
    """Return the format that a path is to be written in, or say why nothing can be written there, without touching it.

    Raises:
        InputError: an unknown format, or an ending that says another one.
        OutputError: a place that cannot be written.

    >>> check_target("cat.gguf", None)
    'gguf'
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"format is {quote(format)}: choose from {', '.join(FORMATS)}")
    ending = Path(path).suffix
    told = ending.removeprefix(".") if ending.removeprefix(".") in FORMATS[:3] else None
    if format is None and ending and told is None:
        raise InputError(
            f"{quote(path)} ends with {quote(ending)}, which says no format: end it with .gguf, .npz or .safetensors, "
            "or choose one with --format (format=...)"
        )
    kind = format or told or "checkpoint"
    if kind != "checkpoint":
        if told != kind:
            raise InputError(f"{quote(path)} does not end with .{kind}: give the file that ending")
        check_output_path(path, force=force)
    elif told is not None:
        raise InputError(f"{quote(path)} ends as a file, and a checkpoint is a folder: give it another name")
    else:
        from vectors.formats.checkpoint.write import check_folder

        check_folder(path, force=force)
    return kind
