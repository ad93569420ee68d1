"""Write the output of the README's first command into the README: `python benchmarks/readme.py`."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    """Run the command and replace the block."""
    text = README.read_text()
    found = re.search(r"^pip install .* && (steer compose .*)$", text, re.MULTILINE)
    assert found is not None, "README.md has no line that installs and composes"
    command = [sys.executable, "-m", "cli.app", *shlex.split(found[1])[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    block = f"<!-- output:compose -->\n```text\n{done.stdout.strip()}\n```\n<!-- /output:compose -->"
    pattern = re.compile(r"<!-- output:compose -->.*?<!-- /output:compose -->", re.DOTALL)
    README.write_text(pattern.sub(lambda _: block, text))


if __name__ == "__main__":
    main()
