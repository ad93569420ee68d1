"""`steer explore`: an interactive search, a screen of texts at a time; every text is written to a file."""

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.completion import complete_expression
from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model
from cli.options.sampling_options import (
    Gate,
    Geometry,
    MaxPressure,
    MaxTokens,
    MinP,
    Positions,
    Prompt,
    Seed,
    Temperature,
    TopK,
    TopP,
    check_prompt,
)
from cli.terminal.output import ClosedPipeError, emit, emit_json, entry, note
from cli.terminal.progress import Progress
from cli.terminal.run_notes import note_plan
from vectors.common.errors import InputError, OutputError, SteerError
from vectors.common.validation import MAX_SEED, check_integer, check_number, quote

if TYPE_CHECKING:
    from steer.runs.sample_set import Sample
    from steer.sampling.exploration import Exploration

Expression = Annotated[
    str | None,
    typer.Argument(
        metavar="EXPR",
        autocompletion=complete_expression,
        help='Concepts to start with, "cat + 0.8 storm".',
        show_default=False,
    ),
]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Texts on a screen.")]
Radius = Annotated[
    float,
    typer.Option(metavar="R", help="First size of each text's own random shift, relative to the steering shift."),
]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE", help="File for every text.  [default: explore-SEED.jsonl]"),
]
Resume = Annotated[
    str | None, typer.Option(metavar="FILE", help="Continue the exploration in FILE, with its own settings.")
]

MAX_SCREEN = 1000
_FLAGS = {"n": "-n", "output": "-o"}  # parameters whose flag has another name
_MAX_DIGITS = 19  # of a sample's index

KEYS = (
    ("2 5", "sample around texts 2 and 5, at a smaller radius"),
    ("m", "more texts from here (also: Enter)"),
    ("w, n", "a wider radius, or a narrower one"),
    ("b", "back to the place before; g 3 goes to place 3"),
    ("s FILE", "save the texts of this place; s FILE 2 5 only these"),
    ("q", "quit; every text is already in the file"),
)


def command(
    context: typer.Context,
    expression: Expression = None,
    n: Count = 4,
    radius: Radius = 0.5,
    geometry: Geometry = None,
    seed: Seed = None,
    prompt: Prompt = None,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    positions: Positions = None,
    gate: Gate = False,
    max_pressure: MaxPressure = None,
    output: Output = None,
    resume: Resume = None,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Run this to search interactively: read texts, pick the best ones, sample around them.

    Each text is written to a file as soon as it is finished. Continue later by --resume FILE, or sample around one of
    the texts by `steer compose --around FILE:I`.
    """
    from steer.composition.expression import parse

    doses = None
    if (expression is None) == (resume is None):
        raise InputError("an expression starts a search and --resume FILE continues one: give one of them")
    if expression == "-":
        raise InputError("stdin is for the keys of the exploration: write the expression instead of -")
    if expression is not None:
        doses = parse(expression)
    if resume is not None and (flags := _conflicting_flags(context)):
        raise InputError(f"--resume takes the settings of the file: leave {flags} out")
    check_integer(n, "-n", low=1, high=MAX_SCREEN)
    if check_number(radius, "--radius") <= 0.0:
        raise InputError(f"--radius is {radius:g}: give one above 0, such as 0.5, so that texts differ in direction")
    check_prompt(prompt)
    if sys.stdin is None:
        raise InputError("stdin is closed: an exploration reads keys from it, leave it open")
    if seed is None:
        import secrets

        seed = secrets.randbelow(2**32)
    check_integer(seed, "--seed", high=MAX_SEED)
    if resume is not None and not Path(resume).is_file():
        raise InputError(f"there is no file {quote(resume)}: start an exploration with an expression")
    path = resume if resume is not None else output if output is not None else f"explore-{seed}.jsonl"
    from steer.runs.sample_file import SampleFile
    from vectors.common.files import check_output_path

    empty = resume is None and Path(path).is_file() and not Path(path).stat().st_size  # killed before its first text
    check_output_path(path, force=resume is not None or empty, hint=f"continue it by --resume {shlex.quote(path)}")
    with Progress() as progress, ExitStack() as stack:
        progress("starting")
        from steer.sampling.run_plan import SamplingOptions, make_plan

        options = SamplingOptions(
            radius=radius, geometry=geometry, seed=seed, prompt=prompt, max_tokens=max_tokens, temperature=temperature,
            top_p=top_p, top_k=top_k, min_p=min_p, positions=positions, gate=gate, max_pressure=max_pressure,
        )  # fmt: skip
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from steer.sampling.exploration import Exploration, common

        if resume is not None:
            exploration = Exploration.resumed(loaded, stack.enter_context(SampleFile(path, "resume")))
        else:
            plan = make_plan(loaded, doses, options)
            exploration = Exploration(
                loaded,
                plan,
                stack.enter_context(SampleFile(path, "resume" if empty else "new", common(plan, loaded))),
                n=n,
            )
            progress.clear()
            note_plan(plan, loaded)
        progress.clear()
        note(f"seed {exploration.here.plan.seed}; every text is written to {quote(path)}")
        Dialogue(exploration, str(path), as_json, progress).run()


def _conflicting_flags(context: typer.Context) -> str:
    """Return the flags of the command line that a resumed exploration takes from its file."""
    ours = {"resume", "model", "device", "dtype", "trust_remote_code", "as_json"}
    given = (
        name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    )
    return ", ".join(_FLAGS.get(name, f"--{name.replace('_', '-')}") for name in given if name not in ours)


class Dialogue:
    """The loop of an exploration: show a screen, read a line, do what it says."""

    def __init__(self, exploration: "Exploration", path: str, as_json: bool, progress: Progress) -> None:
        self.exploration, self.path, self.as_json, self.progress = exploration, path, as_json, progress

    def run(self) -> None:
        """Show the first screen, then obey lines until the end of the input."""
        exploration = self.exploration
        try:
            if exploration.screen:
                self.show(exploration.screen)
            if exploration.wanted or not exploration.screen:
                self.sample()
            while (line := self.ask()) is not None:
                try:
                    if not self.obey(line):
                        break
                except SteerError as error:
                    note(str(error))
        except KeyboardInterrupt:
            note("")
            note(f"interrupted: {self.saved_note()}")
            raise
        except ClosedPipeError:
            note(self.saved_note())
            raise
        note(self.saved_note())

    def saved_note(self) -> str:
        """Return how many texts the file has, and how to continue it."""
        try:
            self.exploration.file.check_place()
        except OutputError as error:
            return f"the file is lost: {error}"
        count = len(self.exploration.samples)
        return f"{count} texts are kept; to continue: steer explore --resume {shlex.quote(self.path)}"

    def ask(self) -> str | None:
        """Return the next line of the input, or None at its end."""
        here = self.exploration.here
        where = f"place {here.number}, radius {here.plan.radius:.3g}"
        self.progress.clear()
        if sys.stderr is not None:
            sys.stderr.write(f"{where}: numbers to sample around, m w n b, s FILE, q, ? > ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line or not sys.stdin.isatty():
            note("")  # end the line of the question: there was no echo
        return line.strip() if line else None

    def obey(self, line: str) -> bool:
        """Obey a line; return False to quit."""
        exploration = self.exploration
        words = line.replace(",", " ").split()
        key = words[0].lower() if words else "m"
        if words and all(map(_is_number, words)):
            exploration.pick([int(word) for word in words])
            self.sample()
        elif key in ("m", "more"):
            self.sample()
        elif key in ("w", "wider", "n", "narrower"):
            (exploration.wider if key[0] == "w" else exploration.narrower)()
            self.sample()
        elif key in ("b", "back"):
            if exploration.back():
                self.show(exploration.screen)
            else:
                note("this is the first place")
        elif key in ("g", "go") and len(words) == 2 and _is_number(words[1]):
            exploration.go(int(words[1]))
            self.show(exploration.screen)
        elif key in ("s", "save"):
            self.save(line.split()[1:])
        elif key in ("q", "quit"):
            return False
        elif key in ("?", "h", "help"):
            for name, what in KEYS:
                note(f"  {name:<8}{what}")
        else:
            note(f"{quote(line)} is not a key: ? lists the keys")
        return True

    def save(self, words: list[str]) -> None:
        """Save the texts of this place, or the ones that the line names, to the file that it names."""
        names, picks = words[:1], [word for part in words[1:] for word in part.split(",") if word]
        if not names or _is_number(names[0].replace(",", "")) or not all(map(_is_number, picks)):
            note("name a file, and texts after it if not all: s best.jsonl 2 5")
            return
        note(f"saved in {quote(self.exploration.save(names[0], [int(pick) for pick in picks]))}")

    def sample(self) -> None:
        """Sample a screen and print its texts in order as they finish; Ctrl-C ends the screen early."""
        exploration = self.exploration
        self.progress("sampling", 0, exploration.n)
        waiting: dict[int, Sample] = {}
        try:
            samples = exploration.more()
            turns = iter(exploration.wanted)
            turn = next(turns, None)
            for sample in samples:
                waiting[sample.index] = sample
                while turn in waiting:
                    self.show([waiting.pop(turn)])
                    turn = next(turns, None)
                self.progress("sampling", exploration.n - len(exploration.wanted), exploration.n)
        except KeyboardInterrupt:
            self.progress.clear()
            self.show(sorted(waiting.values(), key=lambda sample: sample.index))
            note("stopped: m continues this screen")
        self.progress.clear()

    def show(self, samples: "list[Sample]") -> None:
        """Print some texts."""
        self.progress.clear()
        for sample in samples:
            if self.as_json:
                emit_json(sample.to_json())
            else:
                emit(entry(sample))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= _MAX_DIGITS
