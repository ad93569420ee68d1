"""Read tensors from files of `torch.save`, and never the code that a pickle may hold.

torch's own restricted reader (`weights_only=True`) knows tensors, numbers, texts, lists and mappings, and refuses
everything else. What it refuses needs a conversion that may run code, by a command that the user decides to trust.
"""

import shlex
import warnings
import zipfile
from pathlib import Path
from typing import Any, Final

import torch

from vectors.common.errors import SteerError, VectorError
from vectors.common.files import check_no_pointer
from vectors.common.layer_ranges import LayerRanges
from vectors.common.validation import quote
from vectors.concepts.vector_file import MAX_BYTES
from vectors.formats.layer_shifts import LayerShifts
from vectors.formats.rows.containers import rows_in

PICKLES: Final = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_SAFE_SINCE: Final = (2, 10)  # earlier restricted readers could be made to corrupt memory
_TORCH_LEGACY: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # how files of torch.save began before they were archives
_PICKLE: Final = (b"\x80", b"(", b"c", b"]", b"}")  # protocol 2 and later, and what protocol 0 may begin with
_ZIP: Final = b"PK\x03\x04"
_MAX_MEMBERS: Final = 100_000
_CONVERT: Final = (
    "import pickle, torch; "
    "plain = lambda x: {{getattr(k, 'item', lambda: k)(): plain(v) for k, v in x.items()}} if isinstance(x, dict) "
    "else [plain(v) for v in x] if isinstance(x, (list, tuple)) "
    "else torch.as_tensor(x).detach().cpu() if hasattr(x, 'detach') or getattr(getattr(x, 'dtype', 0), 'kind', 'O') in "
    "'biuf' else plain(vars(x)) if hasattr(x, '__dict__') else x if type(x) in (int, float, bool, type(None)) "
    "else str(x); torch.save(plain({load}), {target!r})"
)
"""Python that turns whatever a pickle holds into tensors, texts, lists and mappings, and saves them."""


def read_torch_file(
    path: Path, *, n_layers: int, chosen: LayerRanges | None = None, named: int | None = None
) -> LayerShifts:
    """Return the shifts of a file of `torch.save`; `vectors.formats.rows.containers` lists the shapes it may have.

    Args:
        path: the file.
        n_layers: number of layers of the model.
        chosen: the layers to read, and the layer of a row that has none.
        named: the layer that the name of the file says, if any.

    Raises:
        VectorError: a file that is missing, damaged or larger than 64 MiB, that holds other objects than tensors, or
            vectors that are not meant to be added to the residual stream.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise VectorError(f"{quote(path)} has {size} bytes, a file of vectors at most {MAX_BYTES}: save the rows alone")
    content = load_tensors(path)
    try:
        rows = rows_in(content, n_layers=n_layers, chosen=chosen, named=named)
    except SteerError as error:
        raise VectorError(f"{quote(path)} holds no usable rows by layer: {error}") from error
    return LayerShifts(
        {layer: row.float() for layer, row in rows.by_layer.items()}, "torch", notes=rows.notes, model=rows.model
    )


def load_tensors(path: Path, *, lazily: bool = False) -> Any:
    """Return what a file of `torch.save` holds, on the CPU.

    Args:
        path: the file.
        lazily: map the file into memory, so that only what is used is read; not for files in torch's oldest format.

    Raises:
        VectorError: a damaged file, or one that holds other objects than tensors, numbers and texts.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise VectorError(f"cannot read {quote(path)} ({error.strerror}): give a readable file") from error
    check_no_pointer(start, path, VectorError)
    is_archive = start.startswith(_ZIP)
    if not is_archive and not start.startswith(_PICKLE):
        raise VectorError(f"{quote(path)} is no file of torch.save, and no pickle: give one, or name it by its format")
    if not is_archive and _TORCH_LEGACY not in start:
        load = "pickle.load(open({source!r}, 'rb'))"
        raise VectorError(_needs_conversion(path, "it is no file of torch.save", load))
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2] if part.isdigit())
    if version < _SAFE_SINCE:
        raise VectorError(
            f"{quote(path)} is a pickle, and torch {quote(torch.__version__)} has known faults in reading them safely: "
            f"update torch to {'.'.join(map(str, _SAFE_SINCE))} or later"
        )
    if is_archive:
        _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=lazily and is_archive)
    except Exception as error:  # a damaged pickle fails in many ways
        if "weights_only" in str(error) or "Unsupported global" in str(error) or "Unsupported class" in str(error):
            load = "torch.load({source!r}, map_location='cpu', weights_only=False)"
            raise VectorError(_needs_conversion(path, "it holds other objects than tensors", load)) from error
        raise VectorError(f"{quote(path)} is truncated, or no file of torch.save: save or download it again") from error


def _check_archive(path: Path) -> None:
    """Refuse an archive that would unpack to more than its own size: torch.save packs nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # zipfile raises errors of many kinds on damaged archives
        raise VectorError(f"{quote(path)} is truncated, or no file of torch.save: save or download it again") from error
    if len(members) > _MAX_MEMBERS or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise VectorError(
            f"{quote(path)} is a packed archive, which torch.save does not write: save it with torch.save"
        )
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise VectorError(f"{quote(path)} says that it unpacks to more than its own size: save or download it again")


def _needs_conversion(path: Path, why: str, load: str) -> str:
    target = path.with_name(f"{path.stem}-tensors.pt")
    code = _CONVERT.format(load=load.format(source=str(path)), target=str(target))
    return (
        f"{quote(path)} is a pickle that may run code when it is opened ({why}): if you trust it, convert it by "
        f"`python -c {shlex.quote(code)}` and import {quote(target)}"
    )
