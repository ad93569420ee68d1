"""Options of `steer extract` for a concept without texts: prompts behind which the model writes them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.text_options import TextOptions
from vectors.common.errors import InputError
from vectors.common.validation import quote

if TYPE_CHECKING:
    from vectors.model.residual_model import ResidualModel

Prompt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT", help=r"Prompt behind which the model writes such texts, \n for line ends; repeatable."
    ),
]
Prompts = Annotated[str | None, typer.Option(metavar="FILE", help="A file of prompts.")]
Describe = Annotated[
    str | None, typer.Option(metavar="WORDS", help='What such a text is: "a letter by a pirate"; makes the prompts.')
]
AsExamples = Annotated[
    bool, typer.Option("--as-examples", help="Use --positive as examples in prompts; a few texts are enough.")
]


def prompts_from(
    prompt: Sequence[str] | None,
    prompts: str | None,
    describe: str | None,
    *,
    others: Sequence[str],
    reading: TextOptions,
    model: "ResidualModel | None",
) -> list[str] | None:
    r"""Return the prompts of the options, or None without any.

    Args:
        prompt: the values of `--prompt`, in which `\n` is a line end.
        prompts: a file of prompts.
        describe: a description.
        others: options that give texts.
        reading: how files are read.
        model: the model, for chat templates.

    Raises:
        InputError: options that exclude each other, or a blank one.
    """
    ways = {"--prompt": prompt or None, "--prompts": prompts, "--describe": describe}
    chosen = [way for way, given in ways.items() if given is not None]
    if not chosen:
        return None
    if both := [*chosen, *others][1:]:
        raise InputError(f"{chosen[0]} and {both[0]} both give the texts: give one of them")
    if prompts is not None:
        return list(reading.texts(prompts, model))
    if describe is not None:
        from vectors.extraction.prompts import describe_prompts

        return describe_prompts(describe)
    return [prompt_text(text) for text in prompt or ()]


def prompt_text(text: str) -> str:
    r"""Return the prompt of a value of `--prompt`, in which `\n` is a line end.

    Raises:
        InputError: a blank value.
    """
    from vectors.data.escapes import process_escapes

    if not text.strip():
        raise InputError(f"--prompt is {quote(text)}: give text")
    return process_escapes(text, "--prompt")
