"""`steer compose` loads few modules of the project, so that it starts quickly and its code is easy to follow."""

import subprocess
import sys

PROGRAM = """
import sys
from cli.app import main

code = main(["compose", "sonnet + cat", "-n", "2", "--seed", "1", "--max-tokens", "8"])
print(*sorted(name for name in sys.modules if name.partition(".")[0] in ("vectors", "steer", "cli")), file=sys.stderr)
sys.exit(code)
"""
MAX_MODULES = 71


def test_compose_loads_few_modules() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    loaded = done.stderr.splitlines()[-1].split()
    assert "cli.sample.compose" in loaded and "steer.sampling.sampler" in loaded
    assert len(loaded) <= MAX_MODULES, loaded
