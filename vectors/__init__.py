"""Concepts in a language model's residual stream: found, calibrated, kept."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vectors.concept import ConceptVector
    from vectors.contrast import ContrastSet
    from vectors.errors import SteerError
    from vectors.extraction import extract
    from vectors.model import ResidualModel, load_model
    from vectors.pilot import calibrate
    from vectors.store import keep, load, names
    from vectors.vectorfile import load_file, save

__all__ = [
    "ConceptVector",
    "ContrastSet",
    "ResidualModel",
    "SteerError",
    "calibrate",
    "extract",
    "keep",
    "load",
    "load_file",
    "load_model",
    "names",
    "save",
]

_HOMES = {
    "ConceptVector": "concept",
    "ContrastSet": "contrast",
    "ResidualModel": "model",
    "SteerError": "errors",
    "calibrate": "pilot",
    "extract": "extraction",
    "keep": "store",
    "load": "store",
    "load_file": "vectorfile",
    "load_model": "model",
    "names": "store",
    "save": "vectorfile",
}


def __getattr__(name: str) -> Any:
    # on demand, so that importing the package does not import torch
    if name == "formats":
        return import_module("vectors.formats")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
