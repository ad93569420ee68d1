"""Damaged files over every reader of foreign formats: `python benchmarks/damaged.py`.

Each file is read under a limit of time and of memory: it may be refused with an error of ours, or be read as a sound
vector, and nothing else.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import signal
import struct
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from harness import embedded
from report import table, write

from vectors.common.errors import SteerError
from vectors.concepts.library import keep, load
from vectors.concepts.vector import ConceptVector
from vectors.concepts.vector_file import save
from vectors.formats.arrays import write_arrays
from vectors.formats.gguf import write_gguf
from vectors.formats.reader import read

SECONDS = 2.0
MEMORY = 2**30  # more than the process uses at the start
COUNTS = [0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1]
NAMES = [b"../../etc", b"\x00" * 9, b"direction.0", b"direction.99999", b"\xff\xfe\xfd", b"__metadata__", b"layers.-1"]

Writer = Callable[[Path], Path]


class LateError(BaseException):
    """Raised after the time limit; nothing else catches it."""


def rows() -> dict[int, torch.Tensor]:
    """Shifts at three layers of the embedded model."""
    drawn = torch.randn(3, embedded().d_model, generator=torch.Generator().manual_seed(0))
    return {1: drawn[0], 2: drawn[1], 5: drawn[2]}


def autoencoder(place: Path) -> Path:
    """A folder as SAELens writes it."""
    folder = place / "sae"
    folder.mkdir(exist_ok=True)
    width = embedded().d_model
    cfg = {"d_in": width, "d_sae": 16, "metadata": {"hook_name": "blocks.2.hook_resid_post"}, "architecture": "topk"}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    decoder = torch.randn(16, width, generator=torch.Generator().manual_seed(0))
    safetensors.torch.save_file({"W_dec": decoder, "b_dec": decoder[0].clone()}, folder / "sae_weights.safetensors")
    return folder


def vector_file(place: Path) -> Path:
    """A vector file of this library."""
    own, model = rows(), embedded()
    length = float(own[1].norm())
    vector = ConceptVector(
        name="x", model=model.name, model_hash=model.hash, layer=1, direction=own[1] / length, mean=own[2], gap=length,
        method="mean", positions="all", other_shifts={2: own[2]}, evidence={"a": [1, 2]},
    )  # fmt: skip
    return save(vector, place / "own.safetensors")


def steering_lite(place: Path) -> Path:
    """A file as steering-lite writes it."""
    told = {"cfg": json.dumps({"method": "mean_diff", "coeff": 2.0, "target": "residual"})}
    safetensors.torch.save_file({f"layer{at}.v": row for at, row in rows().items()}, place / "lite.safetensors", told)
    return place / "lite.safetensors"


def stacked(place: Path) -> Path:
    """One array with a row for each layer."""
    np.save(place / "all.npy", np.random.default_rng(0).normal(size=(embedded().n_layers, embedded().d_model)))
    return place / "all.npy"


def packed(place: Path) -> Path:
    """Rows by layer, compressed."""
    np.savez_compressed(place / "packed.npz", **{f"layers.{at}": row.numpy() for at, row in rows().items()})
    return place / "packed.npz"


SOURCES: dict[str, Writer] = {
    "GGUF": lambda place: write_gguf(place / "a.gguf", rows(), model_type="llama", name="a + b"),
    "safetensors, ours": vector_file,
    "safetensors, rows": lambda place: write_arrays(place / "rows.safetensors", rows(), positions="bos"),
    "safetensors, steering-lite": steering_lite,
    "npz": lambda place: write_arrays(place / "rows.npz", rows()),
    "npz, compressed": packed,
    "npy": stacked,
    "SAELens folder": autoencoder,
}


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The same bytes with a few accidental or malicious changes."""
    raw = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        if not raw:
            break
        # the fields that a reader trusts are at the beginning, or in a zip archive at the end
        near = draw.choice([64, 512, len(raw), len(raw)])
        at = (
            draw.randrange(min(near, len(raw)))
            if draw.random() < 0.8
            else len(raw) - 1 - draw.randrange(min(near, len(raw)))
        )
        kind = draw.randrange(10)
        if kind == 0:
            raw[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del raw[at:]
        elif kind == 2:
            raw[at : at + 8] = struct.pack("<Q", draw.choice(COUNTS))
        elif kind == 3:
            raw[at : at + 4] = struct.pack("<I", draw.choice(COUNTS) & 0xFFFFFFFF)
        elif kind == 4:
            raw[at & ~3 : (at & ~3) + 4] = struct.pack("<f", draw.choice([float("nan"), float("inf"), -1e38, 1e-45]))
        elif kind == 5:
            name = draw.choice(NAMES)
            raw[at : at + len(name)] = name
        elif kind == 6:
            other, size = draw.randrange(len(raw)), draw.randrange(1, 33)
            raw[at : at + size], raw[other : other + size] = raw[other : other + size], raw[at : at + size]
        elif kind == 7:
            raw[at:at] = draw.randbytes(draw.randrange(1, 65))
        elif kind == 8:
            del raw[at : at + draw.randrange(1, 65)]
        else:
            raw[at : at + 16] = draw.randbytes(16)
    return bytes(raw)


def reheaded(data: bytes, draw: random.Random) -> bytes:
    """A safetensors file whose header is valid JSON with wrong contents."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    kind = draw.randrange(6)
    key = draw.choice(list(header))
    if kind == 0:
        header[key] = json.loads("[" * 400 + "]" * 400)
    elif kind == 1:
        header = {key: header}
    elif kind == 2:
        header["__metadata__"] = {"cfg": "[" * 5000, "format": "steer-vector/1", "positions": draw.choice(["bos", "x"])}
    elif "data_offsets" in header[key]:
        changed = [draw.choice(COUNTS), draw.choice(COUNTS)]
        header[key][draw.choice(["data_offsets", "shape"])] = changed
    else:
        told = header[key]
        told[draw.choice(list(told))] = draw.choice(["", "NaN", "-1", "9" * 400, "{}", "[[1]]", "\ud83d", "../x"])
    if kind == 5:
        header[draw.choice(["layers.1.mlp", "model.layers.3", "", "a" * 3000])] = header.pop(key)
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data[8 + size :]


def repacked(data: bytes, draw: random.Random) -> bytes:
    """A zip archive with damaged members and correct checksums."""
    stream = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        warnings.simplefilter("ignore")  # duplicate names are intended
        for name in old.namelist():
            content = old.read(name)
            if draw.random() < 0.5:
                content = damaged(content, draw)
            told = draw.choice([name] * 4 + ["../x.npy", "a\x00.npy", "layers.1.npy", "x.pkl", ".npy"])
            new.writestr(told, content)
    return stream.getvalue()


def tried(task: tuple[str, int, int]) -> tuple[str, Counter[str], list[str], float]:
    """Damage one kind of file many times, and read each copy."""
    name, seed, n = task
    draw = random.Random(f"{name} {seed}")
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    slowest = 0.0
    model = embedded()
    digest = model.hash
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["STEER_HOME"] = str(place / "home")
        source = SOURCES[name](place)
        parts = sorted(source.iterdir()) if source.is_dir() else [source]
        whole = {part: part.read_bytes() for part in parts}
        with limited():
            for each in range(n):
                chosen = draw.choice(parts)
                for part, data in whole.items():
                    part.write_bytes(data)
                chosen.write_bytes(mutated(whole[chosen], chosen, draw))
                began = time.process_time()
                try:
                    signal.setitimer(signal.ITIMER_PROF, SECONDS)
                    vector = read(source, model, row=draw.choice([0, 15, 16]) if source.is_dir() else None, name="x")
                    kept = keep(vector, force=True)
                    assert load(kept, model) == vector and vector.model_hash == digest
                    counts["read"] += 1
                except SteerError as error:
                    counts["refused"] += 1
                    if len(str(error).splitlines()) != 1:
                        wrong.append(f"{name} {seed} {each}: a message of several lines: {error}")
                except LateError:
                    wrong.append(f"{name} {seed} {each}: more than {SECONDS:g} s")
                except BaseException as error:
                    wrong.append(f"{name} {seed} {each}: {traceback.format_exception(error)[-1].strip()}")
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                slowest = max(slowest, time.process_time() - began)
                left = [path.name for path in place.rglob("*") if path.name.startswith(".steer-")]
                if left:
                    wrong.append(f"{name} {seed} {each}: left {left}")
    return name, counts, wrong, slowest


def mutated(data: bytes, path: Path, draw: random.Random) -> bytes:
    """Damage the bytes or the contents."""
    if path.suffix == ".safetensors" and draw.random() < 0.4:
        return reheaded(data, draw)
    if path.suffix == ".npz" and draw.random() < 0.5:
        return repacked(data, draw)
    return damaged(data, draw)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Limit memory to a gigabyte more than now, and let alarms end what takes too long."""

    def late(*_: object) -> None:
        raise LateError

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    signal.signal(signal.SIGPROF, late)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def main() -> None:
    """Damage, read, count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=4000, help="files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    part = 500
    tasks = [(name, given.seed + each, part) for name in SOURCES for each in range(-(-given.n // part))]
    totals: dict[str, Counter[str]] = {name: Counter() for name in SOURCES}
    slowest: dict[str, float] = dict.fromkeys(SOURCES, 0.0)
    wrong: list[str] = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for name, counts, bad, longest in pool.map(tried, tasks):
            totals[name] += counts
            slowest[name] = max(slowest[name], longest)
            wrong += bad
            for line in bad:
                print(line, flush=True)
    lines = [
        [name, sum(counts.values()), counts["refused"], counts["read"], f"{1000 * slowest[name]:.0f} ms"]
        for name, counts in totals.items()
    ]
    n = sum(sum(counts.values()) for counts in totals.values())
    lines.append(
        ["**all**", n, sum(c["refused"] for c in totals.values()), sum(c["read"] for c in totals.values()), ""]
    )
    body = (
        f"{n} files, damaged by flipped bits, cuts, insertions, swapped stretches, counts up to 2^64 - 1, NaN and "
        "infinity, hostile names, and valid headers and archives with wrong contents. Each is read with "
        f"{MEMORY >> 30} GiB of memory and {SECONDS:g} s of processor time, and kept in a library if it was read. "
        "Refused files end in an error of ours in one line. The damage of files that are read is in the numbers or "
        "in parts that nobody reads: each gives a vector that passes every check and equals itself after being "
        f"saved and loaded. **{len(wrong)} ended in any other way** (another error, a time-out, a leftover file).\n\n"
        + table(["", "files", "refused", "read", "slowest"], lines)
        + "".join(f"\n- {line}" for line in wrong[:20])
    )
    write("damaged", "Damaged files of other libraries", body, seed=given.seed)


if __name__ == "__main__":
    main()
