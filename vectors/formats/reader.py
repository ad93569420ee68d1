"""Read vectors of other libraries, whatever their format."""

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
_LLAMA_CPP_NAMES: Final[Mapping[str, str]] = {
    "mistral": "llama", "mixtral": "llama", "phi": "phi2", "gpt_neox": "gptneox",
}  # fmt: skip
"""Model families whose name in llama.cpp differs from transformers' by more than hyphens and underscores."""


def read(
    path: str | Path,
    model: "ResidualModel",
    *,
    name: str | None = None,
    row: int | None = None,
    layer: int | None = None,
) -> "ConceptVector":
    """Read a vector of another library, or of this one, as a concept vector of a model.

    The formats are control vectors of repeng and llama.cpp (`.gguf`), arrays with one row a layer (`.safetensors`, as
    steering-lite writes them, `.npz`, `.npy`), folders of sparse autoencoders (SAELens), and the vector files of this
    library. Dose 1 adds the shifts of the file at strength 1, at every layer of the file.

    Args:
        path: a file, or the folder of a sparse autoencoder.
        model: the model to steer.
        name: of the concept. Default: the file's name, followed by the row of an autoencoder.
        row: index of the feature of a sparse autoencoder.
        layer: the layer of a row that names none; of several rows, the one to read.

    Raises:
        InputError: a row or a layer for a format that has none to choose, or a name that cannot name a file.
        VectorError: a file that is missing, damaged, of another format or a pickle, or that does not fit the model.

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
    from vectors.formats.layer_shifts import to_concept

    source = check_source(path, row=row, layer=layer)
    if layer is not None:
        model.check_layer(layer)
    if row is not None:
        from vectors.formats.saelens import read_sae

        return to_concept(read_sae(source, row, d_model=model.d_model), model, name or f"{source.resolve().name}-{row}")
    if source.suffix == ".gguf":
        from vectors.formats.gguf import read_gguf

        shifts, hint = read_gguf(source)
        _warn_of_other_family(hint, model, source)
    else:
        from vectors.concepts.vector_file import is_ours, load_file
        from vectors.formats.arrays import read_arrays

        if source.suffix == ".safetensors" and is_ours(source):
            if layer is not None:
                raise InputError(f"{quote(source)} names its layers itself: leave --layer out")
            vector = load_file(source)
            check_fits(vector, model)
            return vector if name is None else replace(vector, name=name)
        shifts = read_arrays(source, layer=layer, n_layers=model.n_layers)
    try:
        return to_concept(shifts, model, name or source.stem)
    except VectorError as error:
        raise VectorError(f"{quote(source)} cannot steer this model: {error}") from error


def check_source(path: str | Path, *, row: int | None = None, layer: int | None = None) -> Path:
    """Check that a path and its options can be read, before anything slow, and return the path.

    Raises:
        InputError: a row or a layer for a format that has none to choose.
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
    if (row is None) == is_folder:
        what = "a folder: say which feature with --row (row=...)" if is_folder else "a file: leave --row out"
        raise InputError(f"{quote(source)} is {what}")
    if layer is not None and (is_folder or source.suffix == ".gguf"):
        raise InputError(f"{quote(source)} names its layers itself: leave --layer out")
    if source.suffix.lower() in PICKLES and not is_folder:
        raise VectorError(
            f"{quote(source)} is a pickle, which may run code when it is opened: convert it where you trust it, "
            "python -c \"import torch, safetensors.torch as s; d = torch.load('FILE', weights_only=True); "
            "s.save_file({f'layers.{k}': v.float().contiguous() for k, v in d.items()}, 'FILE.safetensors')\""
        )
    if not is_folder and source.suffix not in (".gguf", ".safetensors", ".npz", ".npy"):
        raise VectorError(f"{quote(source)} ends with none of {_ENDINGS}: give such a file, or an autoencoder's folder")
    return source


def _warn_of_other_family(hint: str | None, model: "ResidualModel", path: Path) -> None:
    """Warn if a file was made for another family of models; its width and layers are checked elsewhere."""
    family = str(model.hf.config.model_type)
    if hint is None or _plain(hint) in (_plain(family), _plain(_LLAMA_CPP_NAMES.get(family, family))):
        return
    warnings.warn(
        f"{quote(path)} says that it was made for a model of type {quote(hint)}, and {quote(model.name)} is of type "
        f"{quote(family)}: if that is not the same model, its directions have no meaning here",
        SteerWarning,
        stacklevel=3,
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
