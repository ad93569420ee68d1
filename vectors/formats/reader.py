"""Read vectors of other libraries: one function for all formats."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vectors.common.errors import InputError, SteerWarning, VectorError
from vectors.common.validation import quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector
    from vectors.model.residual_model import ResidualModel

PICKLES: Final = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_ENDINGS: Final = ".gguf, .safetensors, .npz or .npy"
_SAME: Final[Mapping[str, str]] = {"mistral": "llama", "mixtral": "llama", "phi": "phi2", "gpt_neox": "gptneox"}
"""What llama.cpp calls families otherwise than transformers does, beyond hyphens and underscores."""


def read(
    path: str | Path,
    model: "ResidualModel",
    *,
    name: str | None = None,
    row: int | None = None,
    layer: int | None = None,
) -> "ConceptVector":
    """Return a vector of another library, or of this one, as a concept of a model.

    Read are control vectors (`.gguf`, of repeng and llama.cpp), rows by layer (`.safetensors`, as steering-lite writes
    them, `.npz`, `.npy`), folders of sparse autoencoders (SAELens), and the vector files of this library. Dose 1 is
    what the file adds at strength 1, at every layer that it has.

    Args:
        path: a file, or the folder of a sparse autoencoder.
        model: what is to be steered with it.
        name: what expressions will call it. Default: the file's name, and the row of an autoencoder.
        row: of a sparse autoencoder, which feature.
        layer: of rows by layer, the only one to take, or where a row goes that names no layer.

    Raises:
        InputError: a row or a layer where there is none to choose, a name that cannot name a file.
        VectorError: a file that is missing, damaged, of another kind or a pickle, or that does not fit the model.

    >>> import tempfile, torch, vectors
    >>> from vectors.formats.gguf import write_gguf
    >>> model = vectors.load_model()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_gguf(f"{folder}/east.gguf", {3: torch.eye(256)[0] * 4}, model_type="llama")
    ...     east = read(written, model)
    >>> east.name, east.layer, east.gap
    ('east', 3, 4.0)
    """
    from vectors.concepts.vector import check_fits
    from vectors.formats.layer_shifts import concept_of

    place = check_source(path, row=row, layer=layer)
    if layer is not None:
        model.check_layer(layer)
    if row is not None:
        from vectors.formats.saelens import read_sae

        return concept_of(read_sae(place, row, d_model=model.d_model), model, name or f"{place.resolve().name}-{row}")
    if place.suffix == ".gguf":
        from vectors.formats.gguf import read_gguf

        shifts, hint = read_gguf(place)
        _compare(hint, model, place)
    else:
        from vectors.concepts.vector_file import is_ours, load_file
        from vectors.formats.arrays import read_arrays

        if place.suffix == ".safetensors" and is_ours(place):
            if layer is not None:
                raise InputError(f"{quote(place)} says itself which layers it is for: leave --layer out")
            vector = load_file(place)
            check_fits(vector, model)
            return vector if name is None else replace(vector, name=name)
        shifts = read_arrays(place, layer=layer, n_layers=model.n_layers)
    try:
        return concept_of(shifts, model, name or place.stem)
    except VectorError as error:
        raise VectorError(f"{quote(place)} cannot steer this model: {error}") from error


def check_source(path: str | Path, *, row: int | None = None, layer: int | None = None) -> Path:
    """Return the path of what can be read here, or say why not, before anything slow.

    Raises:
        InputError: a row or a layer where there is none to choose.
        VectorError: a file that is not there, or of no kind that is read.
    """
    from vectors.common.files import expand_path

    place = expand_path(path, VectorError)
    try:
        is_folder, is_there = place.is_dir(), place.exists()
    except OSError as error:
        raise VectorError(f"{quote(place)} cannot be looked at ({error.strerror}): give a readable path") from error
    if not is_there:
        raise VectorError(
            f"there is no file or folder {quote(place)}: give a {_ENDINGS} file, or an autoencoder's folder"
        )
    if (row is None) == is_folder:
        what = "a folder: say which feature with --row (row=...)" if is_folder else "a file: leave --row out"
        raise InputError(f"{quote(place)} is {what}")
    if layer is not None and (is_folder or place.suffix == ".gguf"):
        raise InputError(f"{quote(place)} says itself which layers it is for: leave --layer out")
    if place.suffix.lower() in PICKLES and not is_folder:
        raise VectorError(
            f"{quote(place)} is a pickle, which may run code when it is opened: convert it where you trust it, "
            "python -c \"import torch, safetensors.torch as s; d = torch.load('FILE', weights_only=True); "
            "s.save_file({f'layers.{k}': v.float().contiguous() for k, v in d.items()}, 'FILE.safetensors')\""
        )
    if not is_folder and place.suffix not in (".gguf", ".safetensors", ".npz", ".npy"):
        raise VectorError(f"{quote(place)} ends with none of {_ENDINGS}: give such a file, or an autoencoder's folder")
    return place


def _compare(hint: str | None, model: "ResidualModel", place: Path) -> None:
    """Say so where a file was made for another family of models; its width and layers are checked elsewhere."""
    own = str(model.hf.config.model_type)
    if hint is None or _plain(hint) in (_plain(own), _plain(_SAME.get(own, own))):
        return
    warnings.warn(
        f"{quote(place)} says that it was made for a model of type {quote(hint)}, and {quote(model.name)} is of type "
        f"{quote(own)}: if that is not the same model, its directions mean nothing here",
        SteerWarning,
        stacklevel=3,
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
