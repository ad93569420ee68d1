"""Does memory stay flat and time grow linearly with the number of samples?

`python benchmarks/scale.py`: each size is a process of its own, whose memory and time are measured from outside.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from report import table, write

from steer.runs.sample_set import SampleSet

SIZES = (625, 1250, 2500, 5000, 10_000)
MAX_TOKENS = 80


@dataclass(frozen=True)
class Run:
    """One run as a process: samples, seconds, tokens, and peak memory in MiB."""

    n: int
    seconds: float
    tokens: int
    peak: float


def run(n: int, seed: int, arguments: Sequence[str]) -> Run:
    """Sample `n` texts into a file and measure."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "run.jsonl"
        command = [
            sys.executable, "-m", "cli.app", "compose", "sonnet + cat", "--radius", "0.5", "-n", str(n),
            "--max-tokens", str(MAX_TOKENS), "--seed", str(seed), "-o", str(place), "--json", *arguments,
        ]  # fmt: skip
        begun = perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = perf_counter() - begun
        samples = SampleSet.load(place)
        assert process.returncode == 0 and len(samples) == n
        return Run(n, seconds, sum(len(sample.tokens) for sample in samples), usage.ru_maxrss / 2**10)


def main() -> None:
    """Measure every size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=3)
    given, more = parser.parse_known_args()
    runs = [run(n, given.seed, more) for n in SIZES]
    first = runs[0]
    rows = [
        [
            f"{one.n:,}", f"{one.tokens:,}", f"{one.peak:.0f} MiB", f"{one.peak - first.peak:+.0f} MiB",
            f"{one.seconds / first.seconds:.2f}", f"{one.tokens / first.tokens:.2f}",
        ]
        for one in runs
    ]  # fmt: skip
    body = (
        f"`steer compose` with an output file, at most {MAX_TOKENS} tokens a text, each size in its own process. "
        "Peak memory is the resident set of the process, mostly libraries and weights; times are those of the "
        f"whole command including start-up, relative to {first.n} samples.\n\n"
        + table(("samples", "tokens", "peak memory", "over the first", "time", "tokens, relative"), rows)
    )
    write("scale", "Memory and time over the number of samples", body, seed=given.seed)


if __name__ == "__main__":
    main()
