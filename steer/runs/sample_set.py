"""Sets of samples, in and out as JSON Lines."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

from steer.runs.sample import RUN_KEYS, Sample, difference, read_lines
from steer.runs.sample_file import SampleFile, check_output
from vectors.common.errors import InputError
from vectors.common.files import read_bytes, write_atomically
from vectors.common.html import escape_html, format_number, table
from vectors.common.validation import quote

_SHOWN = 20  # texts in a notebook cell

__all__ = ["Sample", "SampleFile", "SampleSet", "check_output"]


class SampleSet(Sequence[Sample]):
    """Samples in the order of their index; indices may have gaps, but no index comes twice.

    Attributes:
        torn: whether a half-written last line was left out when the set was loaded.

    Raises:
        InputError: when an index comes twice.
    """

    def __init__(self, samples: Iterable[Sample] = (), *, torn: bool = False) -> None:
        by_index: dict[int, Sample] = {}
        for sample in samples:
            if sample.index in by_index:
                raise InputError(f"sample {sample.index} comes twice: give the samples of one run")
            by_index[sample.index] = sample
        self._samples = tuple(by_index[index] for index in sorted(by_index))
        self.torn = torn

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._samples)

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> "SampleSet": ...
    def __getitem__(self, at: int | slice) -> "Sample | SampleSet":
        """Return the sample at a position, or the set of those in a slice."""
        return SampleSet(self._samples[at]) if isinstance(at, slice) else self._samples[at]

    def __eq__(self, other: object) -> bool:
        """Compare all samples."""
        return self._samples == other._samples if isinstance(other, SampleSet) else NotImplemented

    def __repr__(self) -> str:
        """Say how many there are and where they come from."""
        return f"<SampleSet: {len(self)} samples{f' of {quote(self[0].model)}' if self._samples else ''}>"

    def _repr_html_(self) -> str:
        """Show the first texts in a notebook, with the cost of each."""
        if not len(self):
            return "<p>no samples</p>"
        first = self[0]
        asked = " ".join(f"{dose:+g} {name}" for name, dose in first.doses.items()) or "nothing"
        rows = [
            [
                str(each.index),
                f'<div style="white-space: pre-wrap; text-align: left">{escape_html(each.prompt + each.text)}</div>',
                "" if each.pressure is None else f"{each.pressure['mean']:.2f}",
                format_number(each.logprob_base),
                format_number(each.logprob_steered),
            ]
            for each in self[:_SHOWN]
        ]
        caption = f"{len(self)} samples of {first.model}: {asked}, radius {first.radius:g}, seed {first.seed}"
        heads = ["", "text", "pressure, nats/token", "log p base", "log p steered"]
        more = len(self) - len(rows)
        return table(heads, rows, caption=caption) + (f"<p>and {more} more</p>" if more else "")

    def check_one_run(self) -> None:
        """Refuse samples of several runs: no figure is of them all.

        Raises:
            InputError: naming the first that differs from the first of all, and in what.
        """
        expect = {key: getattr(self[0], key) for key in RUN_KEYS} if len(self) else {}
        for sample in self:
            if different := difference(sample, expect):
                raise InputError(f"sample {sample.index} is of another run than sample {self[0].index}: {different}")

    @property
    def texts(self) -> list[str]:
        """The texts in order."""
        return [sample.text for sample in self._samples]

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write all samples to a JSONL file, all or nothing, and return its path.

        Raises:
            OutputError: when the file exists (unless `force`) or cannot be written.
        """
        return write_atomically(path, "".join(f"{each.to_json()}\n" for each in self).encode(), force=force)

    @classmethod
    def load(cls, path: str | Path) -> "SampleSet":
        """Read a JSONL file of samples; a last line that an interruption tore is dropped, and `torn` says so.

        Raises:
            InputError: when the file cannot be read, or naming the line that is no sample.
        """
        lines = read_bytes(path, "a file of samples (.jsonl)").splitlines(keepends=True)
        read = [sample for sample, _ in read_lines(lines, quote(path))]
        return cls((sample for sample in read if sample is not None), torn=None in read)


def texts_of(samples: SampleSet | Sequence[str]) -> list[str]:
    """Return the texts of a run, or those given.

    Raises:
        InputError: what is neither.
    """
    if isinstance(samples, SampleSet):
        return samples.texts
    if isinstance(samples, str) or not all(isinstance(text, str) for text in samples):
        raise InputError(f"samples are {quote(samples)}: give a SampleSet or a list of texts")
    return list(samples)
