"""`steer env`: what runs here, to be pasted into a bug report."""

import json
import os
from typing import Any

from cli.options.model_options import Json
from cli.terminal.output import emit, emit_json, record
from cli.terminal.progress import Progress
from vectors.common.errors import SteerError

PACKAGES = (
    "steer-sampler",
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "safetensors",
    "typer",
    "scikit-learn",
    "matplotlib",
)


def command(as_json: Json = False) -> None:
    """Show versions, devices and folders, for bug reports.

    Nothing secret is shown; the hash says which embedded model the shipped concepts belong to.
    """
    found = collect()
    if as_json:
        emit_json(json.dumps(found))
    else:
        emit(record({key: ", ".join(value) if isinstance(value, list) else str(value) for key, value in found.items()}))


def collect() -> dict[str, Any]:
    """Return what `steer env` shows."""
    import platform
    from importlib import metadata

    found: dict[str, Any] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["platform"] = platform.platform()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found["cpus"] = f"{usable} usable of {os.cpu_count()}"
    with Progress() as progress:
        progress("loading the embedded model")
        import torch

        from vectors.common.paths import EMBEDDED_MODEL, user_library
        from vectors.model.residual_model import load_model

        found["threads"] = torch.get_num_threads()
        devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        found["cuda"] = [torch.cuda.get_device_name(each) for each in devices] or "none"
        found["steer_home"] = str(user_library())
        found["embedded_model"] = str(EMBEDDED_MODEL)
        try:
            found["embedded_hash"] = load_model(device="cpu").hash
        except SteerError as error:
            found["embedded_hash"] = f"unusable: {error}"
    return found
