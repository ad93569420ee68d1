"""Compose concepts to a steering point, sample the steered model, and measure the samples."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steer.composition.forecast import forecast
    from steer.composition.steering_point import SteeringPoint, compose
    from steer.reports.comparison import compare
    from steer.reports.html.page import page
    from steer.reports.report import report
    from steer.runs.sample import Sample
    from steer.runs.sample_set import SampleSet
    from steer.sampling.sample import sample
    from steer.search.recentring import recentre
    from steer.sweeps.dose_curve import dose_curve
    from steer.sweeps.suggest_radius import suggest_radius
    from steer.sweeps.sweep import sweep

__all__ = [
    "Sample",
    "SampleSet",
    "SteeringPoint",
    "compare",
    "compose",
    "dose_curve",
    "forecast",
    "page",
    "recentre",
    "report",
    "sample",
    "suggest_radius",
    "sweep",
]

_HOMES = {
    "Sample": "runs.sample",
    "SampleSet": "runs.sample_set",
    "SteeringPoint": "composition.steering_point",
    "compare": "reports.comparison",
    "compose": "composition.steering_point",
    "dose_curve": "sweeps.dose_curve",
    "forecast": "composition.forecast",
    "page": "reports.html.page",
    "perturb": "search.perturbation",
    "prompt_frontier": "sweeps.prompt_frontier",
    "recentre": "search.recentring",
    "report": "reports.report",
    "sample": "sampling.sample",
    "stream": "sampling.sample",
    "suggest_radius": "sweeps.suggest_radius",
    "sweep": "sweeps.sweep",
}


def __getattr__(name: str) -> Any:
    # lazily, so that importing the package does not import torch
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
