"""The sampler: concepts composed, switched on, and sampled with a radius."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steer.ball import perturb
    from steer.dosed import dose_curve
    from steer.figures.compared import compare
    from steer.figures.reported import report
    from steer.pages.document import page
    from steer.point import SteeringPoint, compose
    from steer.record import Sample
    from steer.sampler import sample, stream
    from steer.samples import SampleSet
    from steer.suggested import suggest_radius
    from steer.sweeping import sweep

__all__ = [
    "Sample",
    "SampleSet",
    "SteeringPoint",
    "compare",
    "compose",
    "dose_curve",
    "page",
    "perturb",
    "report",
    "sample",
    "stream",
    "suggest_radius",
    "sweep",
]

_HOMES = {
    "Sample": "record",
    "SampleSet": "samples",
    "SteeringPoint": "point",
    "compare": "figures.compared",
    "compose": "point",
    "dose_curve": "dosed",
    "page": "pages.document",
    "perturb": "ball",
    "report": "figures.reported",
    "sample": "sampler",
    "stream": "sampler",
    "suggest_radius": "suggested",
    "sweep": "sweeping",
}


def __getattr__(name: str) -> Any:
    # on demand, so that importing the package does not import torch; no file here bears the name of a function of it
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
