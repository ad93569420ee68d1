"""Read vectors of other libraries, whatever their format."""

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vectors.common.errors import InputError, SteerWarning, VectorError
from vectors.common.layer_ranges import LayerRanges, parse_layers
from vectors.common.validation import quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector
    from vectors.formats.layer_shifts import LayerShifts
    from vectors.model.residual_model import ResidualModel

TORCH: Final = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
SUFFIXES: Final = (".gguf", ".safetensors", ".npz", ".npy", ".svec", *TORCH)
"""Endings of the files that are read."""

_FEATURES: Final = (".safetensors", ".npz", *TORCH)
_ENDINGS: Final = ".gguf, .safetensors, .npz, .npy, .svec or .pt"


def read(
    path: str | Path,
    model: "ResidualModel",
    *,
    name: str | None = None,
    row: int | None = None,
    layer: int | None = None,
    layers: str | int | Iterable[int] | LayerRanges | None = None,
) -> "ConceptVector":
    """Read a vector of another library, or of this one, as a concept vector of a model.

    The formats are control vectors of repeng and llama.cpp (`.gguf`), arrays with a row for each layer (`.safetensors`,
    `.npz`, `.npy`, `.pt`, `.svec`), sparse autoencoders (SAELens, Gemma Scope, Llama Scope, sparsify,
    dictionary_learning), and the vector files of this library. Dose 1 adds the shifts of the file at strength 1, at
    every layer of the file or at the chosen ones.

    Args:
        path: a file, or the folder of a sparse autoencoder.
        model: the model to steer.
        name: of the concept. Default: the file's name, followed by the row of an autoencoder.
        row: index of the feature of a sparse autoencoder.
        layer: the layer of a row that names none; of several rows, the one to read.
        layers: of several rows, those to read: numbers, or a text such as `8-20` (both ends included).

    Raises:
        InputError: a row for a format that has no features, layer and layers together, or a name that cannot name a
            file.
        VectorError: a file that is missing, damaged, of another format or unsafe to open, that does not fit the model,
            or whose vectors are meant for something else than to be added to the residual stream.

    >>> import tempfile, torch, vectors
    >>> from vectors.formats.gguf import write_gguf
    >>> model = vectors.load_model()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_gguf(f"{folder}/east.gguf", {3: torch.eye(256)[0] * 4}, model_type="llama")
    ...     east = read(written, model)
    >>> east.name, east.layer, east.gap
    ('east', 3, 4.0)
    """
    from vectors.formats.layer_shifts import to_concept

    source = check_source(path, row=row, layer=layer, layers=layers)
    chosen = chosen_layers(layer, layers)
    if layer is not None:
        model.check_layer(layer)
    if row is None and source.suffix == ".safetensors":
        from vectors.concepts.vector_file import is_ours

        if is_ours(source):
            return _read_ours(source, model, name, chosen)
    shifts = _read_shifts(source, model, row, chosen)
    stem = source.resolve().name if source.is_dir() else source.stem
    try:
        vector = to_concept(shifts, model, name or (stem if row is None else f"{stem}-{row}"))
    except VectorError as error:
        raise VectorError(f"{quote(source)} cannot steer this model: {error}") from error
    from vectors.formats.model_names import warn_of_other_model

    warn_of_other_model(shifts.model, model, source)
    for text in shifts.notes:
        warnings.warn(f"{quote(source)}: {text}", SteerWarning, stacklevel=2)
    return vector


def check_source(
    path: str | Path,
    *,
    row: int | None = None,
    layer: int | None = None,
    layers: str | int | Iterable[int] | LayerRanges | None = None,
) -> Path:
    """Check that a path and its options can be read, before anything slow, and return the path.

    Raises:
        InputError: a row for a format that has no features, or layers that cannot be read.
        VectorError: a file that is missing, or of a format that is not read.
    """
    from vectors.common.files import expand_path

    source = expand_path(path, VectorError)
    try:
        is_folder, is_there = source.is_dir(), source.exists()
    except OSError as error:
        raise VectorError(f"{quote(source)} cannot be read ({error.strerror}): give a readable path") from error
    if not is_there:
        raise VectorError(
            f"there is no file or folder {quote(source)}: give a {_ENDINGS} file, or an autoencoder's folder"
        )
    chosen_layers(layer, layers)
    if row is None and is_folder:
        raise InputError(f"{quote(source)} is a folder: say which feature with --row (row=...)")
    if is_folder:
        return source
    if not source.is_file():
        raise VectorError(f"{quote(source)} is not a regular file: give a {_ENDINGS} file")
    if source.suffix.lower() not in SUFFIXES:
        raise VectorError(f"{quote(source)} ends with none of {_ENDINGS}: give such a file, or an autoencoder's folder")
    if row is not None and source.suffix.lower() not in _FEATURES:
        raise InputError(f"{quote(source)} is a file without features: leave --row out")
    return source


def chosen_layers(layer: int | None, layers: str | int | Iterable[int] | LayerRanges | None) -> LayerRanges | None:
    """Return the layers that two options choose together, None for all.

    Raises:
        InputError: both options, or one that cannot be read.
    """
    if layer is not None and layers is not None:
        raise InputError("--layer and --layers both choose layers: give one of them")
    if layer is not None:
        return parse_layers(layer, "layer")
    return None if layers is None else parse_layers(layers)


def _read_ours(source: Path, model: "ResidualModel", name: str | None, chosen: LayerRanges | None) -> "ConceptVector":
    from vectors.concepts.vector import check_fits
    from vectors.concepts.vector_file import load_file
    from vectors.concepts.vector_layers import at_layers

    vector = load_file(source)
    check_fits(vector, model)
    if chosen is not None:
        vector = at_layers(vector, chosen.choose(vector.layers, quote(source), error=VectorError))
    return vector if name is None else replace(vector, name=name)


def _read_shifts(source: Path, model: "ResidualModel", row: int | None, chosen: LayerRanges | None) -> "LayerShifts":
    if row is not None:
        from vectors.formats.autoencoders.feature import read_sae

        return read_sae(source, row, d_model=model.d_model, chosen=chosen)
    suffix = source.suffix.lower()
    if suffix == ".gguf":
        from vectors.formats.gguf import read_gguf

        return read_gguf(source, chosen=chosen)
    if suffix == ".svec":
        from vectors.formats.rows.svec import read_svec

        return read_svec(source, n_layers=model.n_layers, chosen=chosen)
    from vectors.formats.layer_names import layer_in_file_name

    named = layer_in_file_name(source.name)
    if suffix in TORCH:
        from vectors.formats.rows.torch_file import read_torch_file

        return read_torch_file(source, n_layers=model.n_layers, chosen=chosen, named=named)
    from vectors.formats.arrays import read_arrays

    return read_arrays(source, layer=chosen, n_layers=model.n_layers, named=named)
