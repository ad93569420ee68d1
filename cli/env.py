"""`steer env`: versions, devices and folders for a bug report."""

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
    """Run this to show versions, devices and folders for a bug report.

    No secrets are shown. The hash identifies the embedded model, and with it the shipped concepts.
    """
    fields = collect()
    if as_json:
        emit_json(json.dumps(fields))
    else:
        emit(
            record({key: ", ".join(value) if isinstance(value, list) else str(value) for key, value in fields.items()})
        )


def collect() -> dict[str, Any]:
    """Return the fields of `steer env`."""
    import platform
    from importlib import metadata

    fields: dict[str, Any] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            fields[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            fields[package] = "not installed"
    fields["platform"] = platform.platform()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fields["cpus"] = f"{usable} usable of {os.cpu_count()}"
    with Progress() as progress:
        progress("loading the embedded model")
        import torch

        from vectors.common.paths import EMBEDDED_MODEL, user_library
        from vectors.model.residual_model import load_model

        fields["threads"] = torch.get_num_threads()
        devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        fields["cuda"] = [torch.cuda.get_device_name(index) for index in devices] or "none"
        fields["steer_home"] = str(user_library())
        fields["embedded_model"] = str(EMBEDDED_MODEL)
        try:
            fields["embedded_hash"] = load_model(device="cpu").hash
        except SteerError as error:
            fields["embedded_hash"] = f"unusable: {error}"
    return fields
