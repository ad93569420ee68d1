"""Sets of samples, in and out as JSON Lines."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from steer.record import RUN_KEYS, Sample, difference, read_lines
from steer.samplefile import SampleFile, check_output
from vectors.checks import shown
from vectors.errors import InputError
from vectors.files import read_bytes, write_atomically

if TYPE_CHECKING:
    from steer.around import Around

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
        return f"<SampleSet: {len(self)} samples{f' of {shown(self[0].model)}' if self._samples else ''}>"

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from steer.pages.notebook import samples_html

        return samples_html(self)

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

    def recentre(self, picks: Sequence[int], *, shrink: float | None = None) -> "Around":
        """Return what it takes to stand on some of the samples: `steer.sample(model, runs.recentre([2, 5]), n=8)`.

        Their own directions become the centre of the next search, the doses stay, and of several their differences
        shape where it looks. The next radius is `shrink` times theirs (0.7 by default), unless one is asked for.

        Args:
            picks: indices of the samples to stand on.
            shrink: the next radius relative to theirs.

        Raises:
            InputError: no pick, one that is not there, picks of several runs, or samples that were steered by nothing.
        """
        from steer.around import SHRINK, recentred  # which needs torch, as nothing else here does

        return recentred(self, picks, shrink=SHRINK if shrink is None else shrink)

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
        read = [sample for sample, _ in read_lines(lines, shown(path))]
        return cls((sample for sample in read if sample is not None), torn=None in read)
