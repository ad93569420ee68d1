"""Generate the parts of the docs that come from the code: the help of all commands and the glossary of figures.

`python tests/helpers/manual.py` rewrites both.
"""

import io
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[2]))  # before an installed copy

from cli.app import app, main
from cli.welcome import welcome
from steer.reports.glossary import NAMES, meaning

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
FIGURES = PAGE.parent / "figures.md"
MEANING = re.compile(r"<!-- meanings -->\n.*?<!-- /meanings -->", re.DOTALL)
HEAD = """# The command line

This page is what `steer COMMAND --help` prints; `python tests/helpers/manual.py` writes it. `steer` by itself shows:

```text
{welcome}
```

Names of concepts are completed by the shell after `steer --install-completion` and a new shell.

"""


def manual() -> str:
    """Return the text of docs/cli.md."""
    names = ["", *(command.name for command in app.registered_commands if command.name)]
    return HEAD.format(welcome=welcome()) + "\n".join(
        f"## `{f'steer {name}'.strip()}`\n\n```text\n{_help(name)}\n```\n" for name in names
    )


def meanings() -> str:
    """Return the table of docs/figures.md: the name and the meaning of each figure."""
    rows = [f"| {name} | {meaning(name)} |" for name in NAMES]
    return "\n".join(["<!-- meanings -->", "| figure | what it is |", "|---|---|", *rows, "<!-- /meanings -->"])


def _help(name: str) -> str:
    printed = io.StringIO()
    with patch.dict(os.environ, COLUMNS="80", TERMINAL_WIDTH="80"), redirect_stdout(printed):
        main([*([name] if name else []), "--help"])
    return printed.getvalue().strip()


if __name__ == "__main__":
    PAGE.write_text(manual())
    FIGURES.write_text(MEANING.sub(lambda _: meanings(), FIGURES.read_text()))
