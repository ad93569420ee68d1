"""Read vector files of other libraries, and write steering to files that they read."""

from typing import Any


def __getattr__(name: str) -> Any:
    # on demand, so that importing the package does not import torch
    if name in ("check_source", "read"):
        from vectors.formats import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
