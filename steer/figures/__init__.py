"""What came out of a run, in figures: each with its number of texts, its interval, and what it could at best be."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steer.figures.broken import breakdown
    from steer.figures.classifier import ClassifierJudge
    from steer.figures.compared import compare
    from steer.figures.faithful import fidelity
    from steer.figures.figure import Figure
    from steer.figures.judged import success
    from steer.figures.judges import OracleJudge
    from steer.figures.pressed import pressure
    from steer.figures.probes import Probe, overoptimised
    from steer.figures.reported import report
    from steer.figures.typical import typicality
    from steer.figures.varied import diversity
    from steer.figures.yardstick import Yardstick

__all__ = [
    "ClassifierJudge",
    "Figure",
    "OracleJudge",
    "Probe",
    "Yardstick",
    "breakdown",
    "compare",
    "diversity",
    "fidelity",
    "overoptimised",
    "pressure",
    "report",
    "success",
    "typicality",
]

_HOMES = {
    "ClassifierJudge": "classifier",
    "Figure": "figure",
    "OracleJudge": "judges",
    "Probe": "probes",
    "Yardstick": "yardstick",
    "breakdown": "broken",
    "compare": "compared",
    "diversity": "varied",
    "fidelity": "faithful",
    "overoptimised": "probes",
    "pressure": "pressed",
    "report": "reported",
    "success": "judged",
    "typicality": "typical",
}


def __getattr__(name: str) -> Any:
    # on demand, so that importing the package does not import torch; no file here bears the name of a function of it
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
