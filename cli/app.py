"""The program `steer`: its commands, its version, and its one-line error messages."""

import os
import re
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from cli.commands import COMMANDS
from cli.terminal.output import ClosedPipeError, note
from vectors.common.errors import InputError, SteerError, SteerWarning

INTERRUPTED = 130


class LazyGroup(typer.core.TyperGroup):
    """Imports the module of a command only when it runs: a command loads none of the others."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that the arguments name; what `--help` lists are stand-ins with names and help texts."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in and _load(stand_in.name), rest


app = typer.Typer(
    name="steer",
    cls=LazyGroup,
    rich_markup_mode=None,  # plain help: quick, the same in a pipe as on a terminal
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _, name, short, _ in COMMANDS:
    app.command(name, short_help=short)(lambda: None)


@app.callback(
    invoke_without_command=True,
    epilog='Example: steer compose "sonnet + quantum + cat" -n 4 --radius 0.5 --seed 7',
)
def steer(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Find concepts in a base language model, and sample it with them switched on, without a prompt.

    Results go to stdout, notes and progress to stderr. STEER_HOME is the folder of your own concepts. STEER_DEBUG=1
    prints the traceback of an error. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted.
    """
    if version:
        typer.echo(f"steer {installed('steer-sampler')}")
    elif context.invoked_subcommand is None:
        from cli.welcome import welcome

        typer.echo(welcome())


def _load(name: str | None) -> Any:
    """Import a command and return it as the command line runs it."""
    home, _, short, example = next(command for command in COMMANDS if command[1] == name)
    module, _, function = home.partition(":")
    single = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    # `steer keep -7`: a number, not an option
    settings = {"ignore_unknown_options": True} if name == "keep" else None
    decorate = single.command(name, short_help=short, epilog=f"Example: {example}", context_settings=settings)
    decorate(getattr(import_module(module), function))
    return typer.main.get_command(single)


def installed(distribution: str) -> str:
    """Return the version of an installed distribution."""
    from importlib import metadata  # slow to import, as traceback below

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; an error prints one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # no stream, or one that is not a file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    debug = os.environ.get("STEER_DEBUG", "") not in ("", "0")
    try:
        with warnings.catch_warnings():
            if not (debug or sys.warnoptions):
                warnings.simplefilter("ignore")  # a user cannot act on deprecations in other libraries
                warnings.simplefilter("default", SteerWarning)
                warnings.showwarning = lambda message, *_, **__: note(f"note: {message}")
            code = app(list(sys.argv[1:] if arguments is None else arguments), prog_name="steer", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except ClosedPipeError:
        return 0
    except SystemExit as error:  # from typer, when a pipe closes under its help or after shell completion
        return 0 if error.code == 0 or isinstance(error.__context__, BrokenPipeError) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:
        if debug:
            import traceback

            traceback.print_exc()
        message, code = _error_message(error, sys.argv[1:] if arguments is None else arguments)
        note(f"error: {' '.join(message.split())}")
        return code
    finally:
        _flush_streams()


def _error_message(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
    """Return the message of an error and its exit code."""
    if isinstance(error, SteerError):
        return str(error), 2 if isinstance(error, InputError) else 1
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "steer"
        mend = f"see `{where} --help`"
        if type(error).__name__ in ("NoSuchOption", "MissingParameter", "BadParameter") and _has_minus_expression(
            arguments
        ):
            mend += ', and write -- before an expression or a name that begins with "-"'
        elif type(error).__name__ == "UsageError" and _takes_expression(context):
            mend = f'an expression goes in quotes, such as {where} "sonnet + 0.8 cat"; {mend}'
        return f"{error.format_message().rstrip('.')}: {mend}", error.exit_code
    if isinstance(error, typer.Abort):
        return "aborted: the input ended early, give all of it", 1
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        return "out of memory: lower --batch-size or --max-tokens, or choose a smaller model", 1
    if isinstance(error, OSError) and error.filename is None:
        return f"cannot read or write ({error.strerror}): check stdin, stdout and the disk's free space", 1
    return f"unexpected {kind}: {str(error)[:300] or 'no message'}: rerun with STEER_DEBUG=1 for the traceback", 1


def _takes_expression(context: typer.Context | None) -> bool:
    """Return whether a command takes an expression, which a shell splits at blanks unless it is quoted."""
    return context is not None and any("EXPR" in (parameter.metavar or "") for parameter in context.command.params)


def _has_minus_expression(arguments: Sequence[str]) -> bool:
    """Return whether an argument may be an expression such as "-noon + sea", which the parser reads as options."""
    return any(re.match(r"-(?:[^\W\d_]{2}|[\d.('\"\s])", argument) for argument in arguments)


def _flush_streams() -> None:
    """Flush stdout and stderr; redirect a broken one to /dev/null, so that the flush at exit does not complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
