"""Virtual environments of other libraries, created on first use in one folder."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path.home() / ".cache" / "steer-benchmarks"
"""Default folder."""


def python_of(
    folder: Path, name: str, packages: Sequence[str], environment: Mapping[str, str] | None = None
) -> Path | None:
    """The Python of a peer's environment, created if needed; None if it cannot be installed."""
    python = folder / name / "bin" / "python"
    if python.exists():
        return python
    print(f"making an environment for {name}", file=sys.stderr)
    venv.create(folder / name, with_pip=True)
    command = [str(python), "-m", "pip", "install", "-q", *packages]
    if subprocess.run(command, env=os.environ | dict(environment or {}), check=False).returncode:
        print(f"{name} cannot be installed here", file=sys.stderr)
        shutil.rmtree(folder / name, ignore_errors=True)
        return None
    return python
