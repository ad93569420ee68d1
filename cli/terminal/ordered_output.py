"""Samples as they finish: kept at once, printed in the order of their indices."""

from typing import TYPE_CHECKING

from cli.terminal.output import ClosedPipeError, emit, emit_json, entry, note
from cli.terminal.progress import Progress
from vectors.common.errors import OutputError

if TYPE_CHECKING:
    from steer.runs.sample_set import Sample, SampleFile


class Turns:
    """Keeps each sample at once and prints it in the order of the indices, as soon as those before it are finished."""

    def __init__(self, n: int, done: frozenset[int], as_json: bool, file: "SampleFile | None", progress: Progress):
        self.n, self.done, self.as_json, self.file, self.progress = n, done, as_json, file, progress
        self.count = sum(index < n for index in done)
        self.turn = self.stopped = 0
        self.waiting: dict[int, Sample] = {}
        self.heard = True

    @property
    def left(self) -> int:
        """How many samples are still to come."""
        return self.n - self.count

    def take(self, sample: "Sample") -> None:
        """Keep a finished sample, and print all whose turn has come."""
        if self.file is not None:
            self.file.append(sample)
        self.waiting[sample.index] = sample
        self.count += 1
        self.stopped += sample.finish == "not-finite"
        while self.turn in self.waiting or self.turn in self.done:
            if self.turn in self.waiting:
                self._print(self.waiting.pop(self.turn))
            self.turn += 1
        self.progress("sampling", self.count, self.n)

    def give_rest(self) -> None:
        """Print the finished samples that still wait for others."""
        for index in sorted(self.waiting):
            self._print(self.waiting.pop(index))

    def _print(self, sample: "Sample") -> None:
        if not self.heard:
            return
        self.progress.clear()
        try:
            if self.as_json:
                emit_json(sample.to_json())
            else:
                emit(entry(sample))
        except (ClosedPipeError, OutputError) as error:
            # with a file, the file is the job: go on without printing
            if self.file is None:
                raise
            self.heard = False
            if isinstance(error, OutputError):
                note(f"note: {error}; the samples go on into the file")
