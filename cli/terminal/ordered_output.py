"""Print samples in the order of their indices, and write them to a file as they finish."""

from typing import TYPE_CHECKING

from cli.terminal.output import ClosedPipeError, emit, emit_json, entry, note
from cli.terminal.progress import Progress
from vectors.common.errors import OutputError

if TYPE_CHECKING:
    from steer.runs.sample_set import Sample, SampleFile


class OrderedOutput:
    """Write each sample to the file at once, and print it when all samples before it are finished.

    Args:
        n: number of samples of the run.
        done: indices that the file already has.
        as_json: print JSON lines.
        file: where samples are written, or None.
        progress: shows how many samples are finished.
    """

    def __init__(self, n: int, done: frozenset[int], as_json: bool, file: "SampleFile | None", progress: Progress):
        self.n, self.done, self.as_json, self.file, self.progress = n, done, as_json, file, progress
        self.count = sum(index < n for index in done)
        self.not_finite = 0
        self._next = 0
        self._waiting: dict[int, Sample] = {}
        self._has_reader = True

    @property
    def left(self) -> int:
        """Number of samples that are not finished."""
        return self.n - self.count

    def add(self, sample: "Sample") -> None:
        """Write a finished sample, and print all samples whose turn it is."""
        if self.file is not None:
            self.file.append(sample)
        self._waiting[sample.index] = sample
        self.count += 1
        self.not_finite += sample.finish == "not-finite"
        while self._next in self._waiting or self._next in self.done:
            if self._next in self._waiting:
                self._print(self._waiting.pop(self._next))
            self._next += 1
        self.progress("sampling", self.count, self.n)

    def flush(self) -> None:
        """Print the finished samples that wait for earlier ones."""
        for index in sorted(self._waiting):
            self._print(self._waiting.pop(index))

    def _print(self, sample: "Sample") -> None:
        if not self._has_reader:
            return
        self.progress.clear()
        try:
            if self.as_json:
                emit_json(sample.to_json())
            else:
                emit(entry(sample))
        except (ClosedPipeError, OutputError) as error:
            # the file is still worth finishing
            if self.file is None:
                raise
            self._has_reader = False
            if isinstance(error, OutputError):
                note(f"note: {error}; sampling into the file continues")
