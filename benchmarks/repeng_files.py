"""repeng as an independent writer and reader of control vectors: `python benchmarks/repeng_files.py`.

It pins other libraries than ours, and runs in an environment of its own under `--peers FOLDER`.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from harness import embedded
from peers import FOLDER, python_of
from report import table, write

from vectors.formats.gguf import read_gguf, write_gguf
from vectors.formats.reader import read
from vectors.model.hooks import shift_layers
from vectors.model.residual_model import EMBEDDED_MODEL

PACKAGES = ["repeng==0.4.0", "transformers<5", "numpy<2", "torch==2.13.0"]


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=FOLDER)
    given = parser.parse_args()
    python = python_of(given.peers, "repeng", PACKAGES)
    if python is None:
        raise SystemExit(1)
    model, random = embedded(), np.random.default_rng(0)
    layers = range(1, model.n_layers)
    drawn = {str(at): random.normal(size=model.d_model).astype(np.float32) * (0.5 + at) for at in layers}
    unit = {at: row / np.linalg.norm(row) for at, row in drawn.items()}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def repeng(job: str, *arguments: Path) -> None:
            script = Path(__file__).with_name("repeng_peer.py")
            subprocess.run([python, script, job, *arguments], check=True, stderr=subprocess.DEVNULL)

        for what, numbers in (("unit rows", unit), ("rows of any length", drawn)):
            np.savez(place / "drawn.npz", **numbers)
            repeng("write", place / "theirs.gguf", place / "drawn.npz")
            theirs = read_gguf(place / "theirs.gguf")
            same = all(np.array_equal(theirs.rows[int(at)].numpy(), row) for at, row in numbers.items())
            vector = read(place / "theirs.gguf", model)
            off = max(
                float((vector.shift_at(int(at)) * vector.scale - torch.from_numpy(row)).abs().max())
                for at, row in numbers.items()
            )
            rows.append([f"repeng writes {what}, we read", "the same bits" if same else "OTHER", f"{off:.1e}"])
            assert theirs.model == "llama"
        ours = write_gguf(
            place / "ours.gguf", {int(at): torch.from_numpy(row) for at, row in drawn.items()}, model_type="llama"
        )
        repeng("read", ours, place / "read.npz")
        with np.load(place / "read.npz") as found:
            same = sorted(found) == sorted(drawn) and all(np.array_equal(found[at], row) for at, row in drawn.items())
        rows.append(["we write, repeng reads", "the same bits" if same else "OTHER", "-"])
        ids = torch.randint(2, 8000, (8, 32), generator=torch.Generator().manual_seed(0))
        ids[:, 0] = 0
        np.save(place / "ids.npy", ids.numpy())
        repeng("steer", ours, place / "logits.npy", EMBEDDED_MODEL, place / "ids.npy")
        vector = read(ours, model)
        with (
            torch.no_grad(),
            shift_layers(model, {at: vector.shifts[at, "all"] * vector.scale for at in vector.layers}),
        ):
            logits = model.hf(ids, use_cache=False).logits
        off = float((logits - torch.from_numpy(np.load(place / "logits.npy"))).abs().max())
        rows.append(["we write, repeng steers, beside dose 1 here", "logits", f"{off:.1e}"])
    body = (
        "Control vectors of five layers of the embedded model. The last column is the largest difference: of dose "
        "1 of the imported concept from the contents of the file, and of the logits.\n\n"
        + table(["", "", "off by"], rows)
    )
    write("repeng", "repeng beside our files", body, seed=0)


if __name__ == "__main__":
    main()
