"""Read `.svec` files, JSON with a row for each layer, as activation-steering (CAST) and AISteer360 write them.

Key N is the output of block N: activation-steering reads it from `hidden_states[N + 1]`. A vector, a condition and a
direction to project out look the same in such a file; it does not say which it is.
"""

import json
from pathlib import Path
from typing import Final

from vectors.common.errors import SteerError, VectorError
from vectors.common.files import read_bytes
from vectors.common.layer_ranges import LayerRanges
from vectors.common.validation import quote
from vectors.concepts.vector_file import MAX_BYTES
from vectors.formats.layer_shifts import LayerShifts
from vectors.formats.rows.containers import rows_in

SVEC: Final = ".svec"


def read_svec(path: str | Path, *, n_layers: int, chosen: LayerRanges | None = None) -> LayerShifts:
    """Return the shifts of a `.svec` file.

    Raises:
        VectorError: a file that is missing, damaged, larger than 64 MiB, or of another format; directions of attention
            heads, of several positions, or of a plane.
    """
    data = read_bytes(path, "a file of rows by layer (.svec)", limit=MAX_BYTES, error=VectorError)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise VectorError(f"{quote(path)} is not JSON, which a .svec file is: save it again") from error
    try:
        if not isinstance(content, dict) or not isinstance(content.get("directions"), dict):
            raise VectorError("it has no object 'directions' with a row for each layer: save it again")
        rows = rows_in(content, n_layers=n_layers, chosen=chosen)
    except SteerError as error:
        raise VectorError(f"{quote(path)} holds no usable rows by layer: {error}") from error
    note = "a .svec file does not say whether its vectors are to be added, projected out or compared: they are added"
    shifts = {layer: row.float() for layer, row in rows.by_layer.items()}
    return LayerShifts(shifts, "svec", notes=(*rows.notes, note), model=rows.model)
