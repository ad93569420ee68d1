"""`steer explore`: a search by hand, a screen of entries at a time, kept so that nothing of it is lost."""

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
from cli.terminal.run_notes import tell
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
        help='What to begin with, "cat + 0.8 storm".',
        show_default=False,
    ),
]
Count = Annotated[int, typer.Option("-n", metavar="N", help="Entries on a screen.")]
Radius = Annotated[float, typer.Option(metavar="R", help="How far entries stray at first.")]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="FILE", help="Keeps every entry.  [default: explore-SEED.jsonl]")
]
Resume = Annotated[str | None, typer.Option(metavar="FILE", help="Go on with an exploration, as it was begun.")]

MAX_SCREEN = 1000
_OPTIONS = {"n": "-n", "output": "-o"}  # what is not called as its parameter is
_LONGEST = 19  # digits of a sample's number

KEYS = (
    ("2 5", "stand on these entries and look around them, nearer"),
    ("m", "more entries from here (also: Enter)"),
    ("w, n", "look wider, or narrower"),
    ("b", "back to where this was come from; g 3 goes to place 3"),
    ("s FILE", "save the entries of this place; s FILE 2 5 only these"),
    ("q", "quit; everything is kept"),
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
    """Look around a point by hand: pick entries, stand on them, look nearer or farther, go back.

    Every entry is kept in a file as soon as it is finished, with where it was come to, so that an exploration can be
    gone on with (--resume FILE), and any entry of it be stood on by `steer compose --around FILE:I`.
    """
    from steer.composition.expression import parse

    doses = None
    if (expression is None) == (resume is None):
        raise InputError("give an expression to begin with, or --resume FILE to go on: one of the two")
    if expression == "-":
        raise InputError("stdin says what to do next: write the expression out in place of -")
    if expression is not None:
        doses = parse(expression)
    if resume is not None and (told := _told(context)):
        raise InputError(f"--resume goes on as the exploration was begun: leave {told} out")
    check_integer(n, "-n", low=1, high=MAX_SCREEN)
    if check_number(radius, "--radius") <= 0.0:
        raise InputError(f"--radius is {radius:g}: give one above 0, such as 0.5, so that entries differ in direction")
    check_prompt(prompt)
    if sys.stdin is None:
        raise InputError("stdin is closed: an exploration asks what to do next, leave it open")
    if seed is None:
        import secrets

        seed = secrets.randbelow(2**32)
    check_integer(seed, "--seed", high=MAX_SEED)
    if resume is not None and not Path(resume).is_file():
        raise InputError(f"there is no file {quote(resume)}: begin an exploration with an expression")
    place = resume if resume is not None else output if output is not None else f"explore-{seed}.jsonl"
    from steer.runs.sample_file import SampleFile
    from vectors.common.files import check_output_path

    empty = resume is None and Path(place).is_file() and not Path(place).stat().st_size  # killed before its first entry
    check_output_path(place, force=resume is not None or empty, hint=f"go on with it by --resume {shlex.quote(place)}")
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
            made = Exploration.resumed(loaded, stack.enter_context(SampleFile(place, "resume")))
        else:
            plan = make_plan(loaded, doses, options)
            made = Exploration(
                loaded,
                plan,
                stack.enter_context(SampleFile(place, "resume" if empty else "new", common(plan, loaded))),
                n=n,
            )
            progress.clear()
            tell(plan, loaded)
        progress.clear()
        note(f"seed {made.here.plan.seed}; every entry is kept in {quote(place)}")
        Dialogue(made, str(place), as_json, progress).run()


def _told(context: typer.Context) -> str:
    """Name the options on the command line that an exploration has from its file."""
    ours = {"resume", "model", "device", "dtype", "trust_remote_code", "as_json"}
    given = (
        name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    )
    return ", ".join(_OPTIONS.get(name, f"--{name.replace('_', '-')}") for name in given if name not in ours)


class Dialogue:
    """Shows screens and does what the reader asks for, until there is nothing more to ask."""

    def __init__(self, exploration: "Exploration", place: str, as_json: bool, progress: Progress) -> None:
        self.exploration, self.place, self.as_json, self.progress = exploration, place, as_json, progress

    def run(self) -> None:
        """Begin with a screen, and go on until the end of the input."""
        made = self.exploration
        try:
            if made.screen:
                self.show(made.screen)
            if made.wanted or not made.screen:
                self.sample()
            while (line := self.ask()) is not None:
                try:
                    if not self.does(line):
                        break
                except SteerError as error:
                    note(str(error))
        except KeyboardInterrupt:
            note("")
            note(f"interrupted: {self.kept()}")
            raise
        except ClosedPipeError:
            note(self.kept())
            raise
        note(self.kept())

    def kept(self) -> str:
        """Say what is kept, and how to go on with it."""
        try:
            self.exploration.file.check_place()
        except OutputError as error:
            return f"nothing is kept: {error}"
        count = len(self.exploration.samples)
        return f"{count} entries are kept; to go on: steer explore --resume {shlex.quote(self.place)}"

    def ask(self) -> str | None:
        """Return the next line of the input; None at its end."""
        here = self.exploration.here
        where = f"place {here.number}, radius {here.plan.radius:.3g}"
        self.progress.clear()
        if sys.stderr is not None:
            sys.stderr.write(f"{where}: numbers to stand on, m w n b, s FILE, q, ? > ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line or not sys.stdin.isatty():
            note("")  # nobody typed the line's end
        return line.strip() if line else None

    def does(self, line: str) -> bool:
        """Do what a line asks for; False ends the exploration."""
        made = self.exploration
        words = line.replace(",", " ").split()
        key = words[0].lower() if words else "m"
        if words and all(map(_is_number, words)):
            made.pick([int(word) for word in words])
            self.sample()
        elif key in ("m", "more"):
            self.sample()
        elif key in ("w", "wider", "n", "narrower"):
            (made.wider if key[0] == "w" else made.narrower)()
            self.sample()
        elif key in ("b", "back"):
            if made.back():
                self.show(made.screen)
            else:
                note("this is where it began")
        elif key in ("g", "go") and len(words) == 2 and _is_number(words[1]):
            made.go(int(words[1]))
            self.show(made.screen)
        elif key in ("s", "save"):
            self.save(line.split()[1:])
        elif key in ("q", "quit"):
            return False
        elif key in ("?", "h", "help"):
            for name, what in KEYS:
                note(f"  {name:<8}{what}")
        else:
            note(f"{quote(line)} is nothing to do here: ? lists what is")
        return True

    def save(self, words: list[str]) -> None:
        """Save what the line names: a file, and perhaps entries."""
        names, picks = words[:1], [word for part in words[1:] for word in part.split(",") if word]
        if not names or _is_number(names[0].replace(",", "")) or not all(map(_is_number, picks)):
            note("name a file, and perhaps entries after it: s best.jsonl 2 5")
            return
        note(f"saved in {quote(self.exploration.save(names[0], [int(pick) for pick in picks]))}")

    def sample(self) -> None:
        """Sample a screen and show its entries, each as soon as its turn has come; Ctrl-C ends the screen early."""
        made = self.exploration
        self.progress("sampling", 0, made.n)
        waiting: dict[int, Sample] = {}
        try:
            samples = made.more()
            turns = iter(made.wanted)
            turn = next(turns, None)
            for sample in samples:
                waiting[sample.index] = sample
                while turn in waiting:
                    self.show([waiting.pop(turn)])
                    turn = next(turns, None)
                self.progress("sampling", made.n - len(made.wanted), made.n)
        except KeyboardInterrupt:
            self.progress.clear()
            self.show(sorted(waiting.values(), key=lambda sample: sample.index))
            note("stopped: m goes on with this screen")
        self.progress.clear()

    def show(self, samples: "list[Sample]") -> None:
        """Print some entries."""
        self.progress.clear()
        for sample in samples:
            if self.as_json:
                emit_json(sample.to_json())
            else:
                emit(entry(sample))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= _LONGEST
