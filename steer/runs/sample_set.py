"""A set of samples, read from and written to JSON Lines."""

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
# keeps line breaks, and wraps everything else, however narrow the notebook is
_TEXT_STYLE = "white-space: pre-wrap; overflow-wrap: anywhere; text-align: left; min-width: 10em; max-width: 60em"

__all__ = ["Sample", "SampleFile", "SampleSet", "check_output"]


class SampleSet(Sequence[Sample]):
    """Samples sorted by index; indices may have gaps but not repeat.

    Attributes:
        torn: whether loading left out an incomplete last line.

    Raises:
        InputError: an index that occurs twice.
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
        """Return the number of samples."""
        return len(self._samples)

    @overload
    def __getitem__(self, item: int) -> Sample: ...
    @overload
    def __getitem__(self, item: slice) -> "SampleSet": ...
    def __getitem__(self, item: int | slice) -> "Sample | SampleSet":
        """Return one sample by its rank, or a set for a slice."""
        return SampleSet(self._samples[item]) if isinstance(item, slice) else self._samples[item]

    def __eq__(self, other: object) -> bool:
        """Tell whether another set has equal samples."""
        return self._samples == other._samples if isinstance(other, SampleSet) else NotImplemented

    def __repr__(self) -> str:
        """Return the number of samples and the model."""
        return f"<SampleSet: {len(self)} samples{f' of {quote(self[0].model)}' if self._samples else ''}>"

    def _repr_html_(self) -> str:
        """Return an HTML table of the first texts with their costs, for notebooks."""
        if not len(self):
            return "<p>no samples</p>"
        first = self[0]
        doses = " ".join(f"{dose:+g} {name}" for name, dose in first.doses.items()) or "nothing"
        rows = [
            [
                str(sample.index),
                f'<div style="{_TEXT_STYLE}">{escape_html(sample.prompt + sample.text)}</div>',
                "" if sample.pressure is None else f"{sample.pressure['mean']:.2f}",
                format_number(sample.logprob_base),
                format_number(sample.logprob_steered),
            ]
            for sample in self[:_SHOWN]
        ]
        caption = f"{len(self)} samples of {first.model}: {doses}, radius {first.radius:g}, seed {first.seed}"
        heads = ["", "text", "pressure, nats/token", "log p base", "log p steered"]
        hidden = len(self) - len(rows)
        return table(heads, rows, caption=caption) + (f"<p>and {hidden} more</p>" if hidden else "")

    def check_one_run(self) -> None:
        """Refuse samples of several runs.

        Raises:
            InputError: naming the first sample that differs from the first of the set, and how.
        """
        expect = {key: getattr(self[0], key) for key in RUN_KEYS} if len(self) else {}
        for sample in self:
            if different := difference(sample, expect):
                raise InputError(f"sample {sample.index} is of another run than sample {self[0].index}: {different}")

    @property
    def texts(self) -> list[str]:
        """All texts, in order of the index."""
        return [sample.text for sample in self._samples]

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write all samples to a JSONL file atomically and return its path.

        Raises:
            OutputError: a file that exists (unless `force`) or cannot be written.
        """
        return write_atomically(path, "".join(f"{sample.to_json()}\n" for sample in self).encode(), force=force)

    @classmethod
    def load(cls, path: str | Path) -> "SampleSet":
        """Read a JSONL file of samples.

        An interrupted run may leave an incomplete last line; it is dropped, and `torn` is set.

        Raises:
            InputError: a file that cannot be read, or a line that is no sample.
        """
        lines = read_bytes(path, "a file of samples (.jsonl)").splitlines(keepends=True)
        read = [sample for sample, _ in read_lines(lines, quote(path))]
        return cls((sample for sample in read if sample is not None), torn=None in read)


def texts_of(samples: SampleSet | Sequence[str]) -> list[str]:
    """Return the texts of a run, or the given texts.

    Raises:
        InputError: a value that is neither a run nor a list of texts.
    """
    if isinstance(samples, SampleSet):
        return samples.texts
    if isinstance(samples, str) or not all(isinstance(text, str) for text in samples):
        raise InputError(f"samples are {quote(samples)}: give a SampleSet or a list of texts")
    return list(samples)
