"""The dialogue of `steer explore`: print a screen of texts, read a line from stdin, run it."""

import shlex
import sys
from typing import TYPE_CHECKING

from cli.terminal.output import ClosedPipeError, emit, emit_json, entry, note
from cli.terminal.progress import Progress
from vectors.common.errors import OutputError, SteerError
from vectors.common.validation import quote

if TYPE_CHECKING:
    from steer.runs.sample_set import Sample
    from steer.sampling.exploration import Exploration

COMMANDS = (
    ("2 5", "sample around texts 2 and 5, at a smaller radius"),
    ("m", "sample more texts here (also: Enter)"),
    ("w, n", "go to a wider radius, or a narrower one"),
    ("b", "go back to the node before; g 3 goes to node 3"),
    ("s FILE", "save the texts of this node; s FILE 2 5 saves only these"),
    ("q", "quit; every text is already in the file"),
)

_MAX_DIGITS = 19  # of a sample's index


class Dialogue:
    """The loop of an exploration: show a screen of texts, read a line, run it."""

    def __init__(self, exploration: "Exploration", path: str, as_json: bool, progress: Progress) -> None:
        self.exploration, self.path, self.as_json, self.progress = exploration, path, as_json, progress

    def run(self) -> None:
        """Show the first screen, then run lines until the end of the input."""
        exploration = self.exploration
        try:
            if exploration.screen:
                self.show(exploration.screen)
            if exploration.missing or not exploration.screen:
                self.sample()
            while (line := self.read_line()) is not None:
                try:
                    if not self.run_line(line):
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
            self.exploration.file.check_path()
        except OutputError as error:
            return f"the texts are lost: {error}"
        count = len(self.exploration.samples)
        return f"{count} texts are saved; to continue: steer explore --resume {shlex.quote(self.path)}"

    def read_line(self) -> str | None:
        """Prompt for a line of the input and return it, or None at the end of the input."""
        node = self.exploration.current
        self.progress.clear()
        if sys.stderr is not None:
            sys.stderr.write(
                f"node {node.number}, radius {node.plan.radius:.3g}: text numbers, m w n b, s FILE, q, ? for help > "
            )
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line or not sys.stdin.isatty():
            note("")  # end the line of the prompt: there was no echo
        return line.strip() if line else None

    def run_line(self, line: str) -> bool:
        """Run a line; return False to quit."""
        exploration = self.exploration
        words = line.replace(",", " ").split()
        key = words[0].lower() if words else "m"
        if words and all(map(_is_number, words)):
            exploration.pick([int(word) for word in words])
            self.sample()
        elif key in ("m", "more"):
            self.sample()
        elif key in ("w", "wider", "n", "narrower"):
            (exploration.widen if key[0] == "w" else exploration.narrow)()
            self.sample()
        elif key in ("b", "back"):
            if exploration.go_back():
                self.show(exploration.screen)
            else:
                note("this is the first node")
        elif key in ("g", "go") and len(words) == 2 and _is_number(words[1]):
            exploration.go_to(int(words[1]))
            self.show(exploration.screen)
        elif key in ("s", "save"):
            self.save(line.split()[1:])
        elif key in ("q", "quit"):
            return False
        elif key in ("?", "h", "help"):
            for name, meaning in COMMANDS:
                note(f"  {name:<8}{meaning}")
        else:
            note(f"{quote(line)} is not a command: ? lists the commands")
        return True

    def save(self, words: list[str]) -> None:
        """Save texts of this node; `words` are the path of the file and the numbers of the texts (default: all)."""
        names, picks = words[:1], [word for part in words[1:] for word in part.split(",") if word]
        if not names or _is_number(names[0].replace(",", "")) or not all(map(_is_number, picks)):
            note("name a file, then the numbers of the texts (default: all of this node): s best.jsonl 2 5")
            return
        note(f"saved in {quote(self.exploration.save(names[0], [int(pick) for pick in picks]))}")

    def sample(self) -> None:
        """Sample a screen and print its texts in order as they finish; Ctrl-C ends the screen early."""
        exploration = self.exploration
        self.progress("sampling", 0, exploration.n)
        waiting: dict[int, Sample] = {}
        try:
            samples = exploration.sample_screen()
            indices = iter(exploration.missing)
            next_index = next(indices, None)
            for sample in samples:
                waiting[sample.index] = sample
                while next_index in waiting:
                    self.show([waiting.pop(next_index)])
                    next_index = next(indices, None)
                self.progress("sampling", exploration.n - len(exploration.missing), exploration.n)
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
