"""Options about files of texts, which all commands that read texts share."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vectors.common.errors import InputError

if TYPE_CHECKING:
    from vectors.data.reading import Reading
    from vectors.model.residual_model import ResidualModel

Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Of text files: txt, json, jsonl, csv, tsv, parquet, arrow.  [default: what they hold]",
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column of the texts; A,B puts two together.  [default: text, or the only one]"),
]
PositiveColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of the texts with the concept.  [default: positive]")
]
NegativeColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column of the texts without it.  [default: background or negative]"),
]
Split = Annotated[str | None, typer.Option(metavar="NAME", help="Part of a dataset.  [default: train]")]
Delimiter = Annotated[str | None, typer.Option(metavar="C", help="Between cells, such as ';' or tab.")]
NoHeader = Annotated[bool, typer.Option("--no-header", help="The first row is no header: columns are 1, 2, …")]
Escapes = Annotated[bool, typer.Option("--escapes", help=r"Turn \n and the like in texts into line ends.")]
Chat = Annotated[bool, typer.Option("--chat", help="Put conversations into the model's chat template.")]


@dataclass(frozen=True)
class TextOptions:
    """The values of the options about text files."""

    format: Format = None
    text_column: TextColumn = None
    positive_column: PositiveColumn = None
    negative_column: NegativeColumn = None
    split: Split = None
    delimiter: Delimiter = None
    no_header: NoHeader = False
    escapes: Escapes = False
    chat: Chat = False

    def how(self, model: "ResidualModel | None") -> "Reading":
        """Return how files are read.

        Raises:
            InputError: `--chat` without a model, or with one that has no chat template, or an unusable delimiter.
        """
        from vectors.data.reading import Reading

        chat = None
        if self.chat:
            if model is None:
                raise InputError("--chat needs the model whose chat template it is: name it by --model")
            from vectors.data.chat import chat_template

            chat = chat_template(model.tokenizer, model.name)
        return Reading(
            split=self.split, delimiter=self.delimiter, header=not self.no_header, escapes=self.escapes, chat=chat
        )

    def texts(self, path: str, model: "ResidualModel | None") -> tuple[str, ...]:
        """Read a file of texts of one kind."""
        from vectors.data.text_files import read_texts

        return read_texts(path, format=self.format, field=self.text_column, how=self.how(model))

    def positives(self, path: str, model: "ResidualModel | None") -> tuple[str, ...]:
        """Read a file of texts with the concept."""
        from vectors.data.text_files import POSITIVE_NAMES, read_texts

        column = self.positive_column or self.text_column
        return read_texts(path, format=self.format, field=column, how=self.how(model), names=POSITIVE_NAMES)

    def backgrounds(self, path: str, model: "ResidualModel | None") -> tuple[str, ...]:
        """Read a file of texts without the concept."""
        from vectors.data.text_files import BACKGROUND_NAMES, read_texts

        column = self.negative_column or self.text_column
        return read_texts(path, format=self.format, field=column, how=self.how(model), names=BACKGROUND_NAMES)


def both_sides(
    positive: str, background: str, reading: TextOptions, model: "ResidualModel | None"
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read the texts of both sides.

    Raises:
        InputError: both are stdin, or files that cannot be read.
    """
    from vectors.data.files.source import is_stdin

    if is_stdin(positive) and is_stdin(background):
        raise InputError("stdin can be read only once: give one of --positive and --background as a file")
    return reading.positives(positive, model), reading.backgrounds(background, model)


def with_text_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options about text files in place of its argument `reading`, which gets their values."""
    options = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(TextOptions)
    ]
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        parameters += options if parameter.name == "reading" else own

    @functools.wraps(command)
    def run(**given: Any) -> None:
        values = {option.name: given.pop(option.name) for option in options}
        command(**given, reading=TextOptions(**values))

    # typer reads both to learn the options of a command
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
