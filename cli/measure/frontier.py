"""`steer frontier`: hold a concept against a prompt of examples, by success and pressure."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_name
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, open_model
from cli.options.prompt_options import prompt_text
from cli.options.run_options import Background, JudgeTexts, Positive, check_pictures, judge_texts
from cli.options.text_options import TextOptions, with_text_options
from cli.terminal.output import emit, emit_json, note, table
from cli.terminal.progress import Progress
from cli.terminal.time_estimate import announce, sampling_seconds
from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, quote

if TYPE_CHECKING:
    from steer.judges.judge import Judge
    from steer.sweeps.prompt_frontier import PromptFrontier
    from vectors.concepts.vector import ConceptVector

_FEWEST = 4  # texts of each side that a judge is fit on

Concept = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=complete_name, help="A concept of the library, or a vector file."),
]
PromptFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Texts to make prompts of.  [default: those of --positive that it learned from]"),
]
Prompt = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help=r"A prompt in words, \n for line ends; repeatable.")
]
Doses = Annotated[str, typer.Option(metavar="LIST", help="Doses: 0.5,1 or from:to:step.")]
Shots = Annotated[str, typer.Option(metavar="LIST", help="Numbers of examples in a prompt, or none.")]
NoBoth = Annotated[bool, typer.Option("--no-both", help="Leave out prompts with half a dose.")]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Texts of each.")]
Tokens = Annotated[int, typer.Option("--max-tokens", metavar="T", help="Length limit of a text.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of all texts.")]
Plot = Annotated[str | None, typer.Option(metavar="FILE", help="Plot success against pressure.")]
Theme = Annotated[str, typer.Option(metavar="NAME", help="Colours of the plot: light or dark.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the plot's file.")]


@with_text_options
def command(
    concept: Concept,
    positive: Positive = None,
    background: Background = None,
    prompt_file: PromptFile = None,
    prompt: Prompt = None,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    doses: Doses = "0,0.25,0.5,0.75,1,1.5,2",
    shots: Shots = "1,3,6",
    no_both: NoBoth = False,
    n: Count = 64,
    max_tokens: Tokens = 40,
    seed: Seed = 0,
    plot: Plot = None,
    theme: Theme = "light",
    force: Force = False,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Run this to see whether a concept does better than a prompt of examples, at what pressure.

    All are sampled: doses of the concept without a prompt, prompts of a few examples without steering, and prompts
    with half a dose; with --prompt also prompts in words, such as those that the concept was made from. A judge is
    fit on the texts that the concept did not learn from.
    """
    from steer.sweeps.grid import parse_range

    tried = list(parse_range(doses, "--doses"))
    numbers = [_number(part) for part in shots.split(",") if shots != "none"]
    prompts = [prompt_text(text) for text in prompt or ()]
    if prompt_file is not None and not numbers:
        raise InputError("--prompt-file gives examples, and --shots none makes no prompts of them: drop one of the two")
    check_integer(n, "-n", low=2)
    check_integer(seed, "--seed", high=MAX_SEED)
    check_pictures((plot,), theme, force)
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress, base)
        from steer.sweeps.prompt_frontier import prompt_frontier
        from vectors.concepts.library import load

        vector = load(concept, loaded)
        texts = judge_texts(positive, background, reading, loaded)
        if texts is None:
            raise InputError("a judge needs texts: give --positive FILE and --background FILE")
        judge = _judge(vector, texts)
        if not numbers:
            examples = list[str]()
        elif prompt_file is not None:
            examples = list(reading.positives(prompt_file, loaded))
        else:
            examples = [text for text in texts[0] if vector.is_unseen(text) is False]
            if not examples:
                raise InputError(
                    f"it is not known which texts {quote(vector.name)} learned from: give examples by --prompt-file"
                )
        progress.clear()
        if vector.held_out is None:
            note(f"note: it is not known whether {quote(vector.name)} learned from the judge's texts: give other ones")
        total = len(tried) + len(numbers) * (1 if no_both else 2) + bool(prompts)
        announce(sampling_seconds(loaded, total * n, max_tokens), n=n, shorter="or fewer --doses", at_most=True)
        done = [0]

        def watch(_: object) -> None:
            done[0] += 1
            progress("sampling", done[0], total)

        progress("sampling", 0, total)
        frontier = prompt_frontier(
            loaded, vector, [judge], examples, doses=tried, shots=numbers, both=not no_both,
            prompts=prompts, n=n, max_tokens=max_tokens, seed=seed, watcher=watch,
        )  # fmt: skip
    if as_json:
        emit_json(json.dumps(frontier.to_dict()))
    else:
        emit(frontier_table(frontier))
    if plot is not None:
        frontier.plot(plot, theme=theme, force=force)
        note(f"plot written to {plot}")


def _judge(vector: "ConceptVector", texts: JudgeTexts) -> "Judge":
    """Return a judge of words, fit on the texts that the concept did not learn from."""
    from steer.judges.judge import FunctionJudge
    from vectors.calibration.word_judge import WordJudge

    positive, background = ([text for text in side if vector.is_unseen(text) is not False] for side in texts)
    if min(len(positive), len(background)) < _FEWEST:
        raise InputError(
            f"{quote(vector.name)} did not learn from {len(positive)} of the positive and {len(background)} of the "
            f"background texts, and a judge needs {_FEWEST} of each: give more, or other texts"
        )
    return FunctionJudge("words", WordJudge(positive, background).accepts)


def frontier_table(frontier: "PromptFrontier") -> str:
    """Format one line a way, with success and pressure and their intervals."""
    rows = [["", "success", "pressure (nats/token)"]]
    rows += [[row.label, str(row.success), str(row.pressure)] for row in frontier.rows]
    return table(rows)


def _number(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit() and 0 < int(text) <= 100):
        raise InputError(f"--shots has {quote(text)}: give numbers of examples from 1 to 100, such as 1,3,6, or none")
    return int(text)
