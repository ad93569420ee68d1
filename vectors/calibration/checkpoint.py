"""Keep the finished parts of a long job in a folder, so that an interrupted one goes on where it was."""

import json
import shutil
from collections.abc import Callable, Mapping
from copy import copy
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import safetensors.torch
from torch import Tensor

from vectors.common.errors import SteerError
from vectors.common.files import write_atomically
from vectors.model.positions import Site

_IDENTITY = "job.json"
Value = TypeVar("Value")
Json = TypeVar("Json", bound="int | float | str | list | dict")  # type: ignore[type-arg]


class Checkpoint:
    """The finished parts of one job, by name, each in a file of its own.

    Args:
        folder: where the files are; None keeps nothing.
        identity: what the job is: a folder of another job is emptied.

    >>> Checkpoint(None, {}).value("sum", lambda: 1 + 1)
    2
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, object]) -> None:
        self._folder, self._about = folder, ""
        if folder is None:
            return
        text = json.dumps(identity, sort_keys=True)
        if not _is(folder / _IDENTITY, text):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / _IDENTITY, text.encode(), force=True)

    def about(self, shifts: Mapping[Site, Tensor]) -> "Checkpoint":
        """Return the same checkpoint for parts that depend on some shifts: parts about others are not found in it."""
        digest = sha256()
        for site in sorted(shifts):
            digest.update(repr(site).encode() + shifts[site].detach().float().cpu().numpy().tobytes())
        narrower = copy(self)
        narrower._about = f"{self._about}{digest.hexdigest()} "
        return narrower

    def value(self, name: str, make: Callable[[], Json]) -> Json:
        """Return a part that is plain JSON, made now unless it was finished before."""

        def read(path: Path) -> Json:
            found: Json = json.loads(path.read_bytes())
            return found

        return self._part(name, ".json", make, read, lambda value: json.dumps(value, allow_nan=False).encode())

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return a part that is tensors by name, made now unless it was finished before."""

        def written(value: dict[str, Tensor]) -> bytes:
            return safetensors.torch.save({key: tensor.contiguous() for key, tensor in value.items()})

        return self._part(name, ".safetensors", make, lambda path: safetensors.torch.load(path.read_bytes()), written)

    def shifts(self, name: str, make: Callable[[], Mapping[Site, Tensor]]) -> dict[Site, Tensor]:
        """Return a part that is shifts by layer and positions, in float32."""

        def named() -> dict[str, Tensor]:
            return {f"{layer} {where}": shift.float() for (layer, where), shift in make().items()}

        shifts: dict[Site, Tensor] = {}
        for key, shift in self.tensors(name, named).items():
            layer, where = key.split(" ")
            shifts[int(layer), where] = shift
        return shifts

    def _part(
        self, name: str, suffix: str, make: Callable[[], Value], read: Callable[[Path], Value],
        write: Callable[[Value], bytes],
    ) -> Value:  # fmt: skip
        if self._folder is None:
            return make()
        path = self._folder / (sha256((self._about + name).encode()).hexdigest()[:16] + suffix)
        if path.exists():
            try:
                return read(path)
            except (OSError, ValueError, SteerError, safetensors.SafetensorError):
                pass  # a damaged part is made again
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)  # another process may have finished the same job
        write_atomically(path, write(value), force=True)
        return value


def _is(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False
