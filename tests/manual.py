"""The page of all commands, as their own `--help` says it: `python tests/manual.py` writes docs/cli.md anew."""

import io
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))  # before an installed copy

from cli.app import app, main
from cli.welcome import welcome

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """# The command line

This page is what `steer COMMAND --help` prints; it is written by `python tests/manual.py`. `steer` by itself shows:

```text
{welcome}
```

Names of concepts are completed by the shell after `steer --install-completion` and a new shell.

"""


def manual() -> str:
    """Return the page."""
    names = ["", *(command.name for command in app.registered_commands if command.name)]
    return HEAD.format(welcome=welcome()) + "\n".join(
        f"## `{f'steer {name}'.strip()}`\n\n```text\n{_help(name)}\n```\n" for name in names
    )


def _help(name: str) -> str:
    printed = io.StringIO()
    with patch.dict(os.environ, COLUMNS="80", TERMINAL_WIDTH="80"), redirect_stdout(printed):
        main([*([name] if name else []), "--help"])
    return printed.getvalue().strip()


if __name__ == "__main__":
    PAGE.write_text(manual())
