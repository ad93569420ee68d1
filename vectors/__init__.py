"""Extract, calibrate and store concept vectors in a language model's residual stream."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vectors.calibration.calibrate import calibrate
    from vectors.common.errors import SteerError
    from vectors.concepts.library import keep, load, names
    from vectors.concepts.vector import ConceptVector
    from vectors.concepts.vector_file import load_file, save
    from vectors.data.contrast import ContrastSet
    from vectors.data.reading import Reading
    from vectors.data.text_files import read_contrast, read_labels, read_pairs, read_texts
    from vectors.extraction.extract import extract
    from vectors.model.residual_model import ResidualModel, load_model

__all__ = [
    "ConceptVector",
    "ContrastSet",
    "Reading",
    "ResidualModel",
    "SteerError",
    "calibrate",
    "extract",
    "keep",
    "load",
    "load_file",
    "load_model",
    "names",
    "read_contrast",
    "read_labels",
    "read_pairs",
    "read_texts",
    "save",
]

_HOMES = {
    "ConceptVector": "concepts.vector",
    "ContrastSet": "data.contrast",
    "Reading": "data.reading",
    "ResidualModel": "model.residual_model",
    "SteerError": "common.errors",
    "calibrate": "calibration.calibrate",
    "extract": "extraction.extract",
    "keep": "concepts.library",
    "load": "concepts.library",
    "load_file": "concepts.vector_file",
    "load_model": "model.residual_model",
    "names": "concepts.library",
    "read_contrast": "data.text_files",
    "read_labels": "data.text_files",
    "read_pairs": "data.text_files",
    "read_texts": "data.text_files",
    "save": "concepts.vector_file",
}


def __getattr__(name: str) -> Any:
    # imported when first used, so that importing the package does not import torch
    if name == "formats":
        return import_module("vectors.formats")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
