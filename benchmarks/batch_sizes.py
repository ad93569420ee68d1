"""Whether a text is the same whatever the batch: `python benchmarks/batch_sizes.py FOLDER --dtypes bfloat16`.

Each sample has a random direction of its own, a tenth as long as the stream in the middle block. Texts of every batch
size, with and without costs, are compared with those of the largest. Finished cells are kept in a file, so that an
interrupted run goes on where it ended.
"""

import argparse
import json
from pathlib import Path

import torch
from report import table, write

import vectors
from vectors.decoding.decode import decode
from vectors.decoding.token_sampling import Settings
from vectors.model.hooks import read_layers
from vectors.model.residual_model import ResidualModel

SEED = 3
SIZE = 0.1  # length of a shift, relative to the median length of the stream


def texts_of(model: ResidualModel, n: int, tokens: int, batch_size: int, *, costs: bool) -> list[list[int]]:
    """The token ids of the first samples."""
    layer = model.n_layers // 2
    with torch.no_grad():
        stream = read_layers(model, model.batch(model.encode(["The sea was calm, and the boats lay still."])), [layer])
    length = SIZE * float(stream[layer][0, 1:].float().norm(dim=-1).median())
    directions = torch.randn(n, model.d_model, generator=torch.Generator().manual_seed(SEED))
    shifts = length * directions / directions.norm(dim=1, keepdim=True)
    done = decode(
        model, lambda some: {layer: shifts[list(some)]}, prefix=model.start_ids(), settings=Settings(max_tokens=tokens),
        seed=SEED, indices=range(n), batch_size=batch_size, costs=costs,
    )  # fmt: skip
    return [each.tokens for each in sorted(done, key=lambda each: each.index)]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 16, 4, 1])
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--cells", type=Path, default=Path("batch_sizes.jsonl"), help="finished cells")
    options = parser.parse_args()
    cells = {}
    if options.cells.exists():
        for line in options.cells.read_text().splitlines():
            *key, texts = json.loads(line)
            cells[tuple(key)] = texts
    rows: list[list[object]] = []
    for folder in options.models:
        for dtype in options.dtypes:
            model = None
            for costs in (True, False):
                for size in options.batches:
                    key = (folder.name, dtype, size, costs, options.n, options.tokens)
                    if key not in cells:
                        model = model or vectors.load_model(folder, dtype=dtype)
                        cells[key] = texts_of(model, options.n, options.tokens, size, costs=costs)
                        with options.cells.open("a") as file:
                            file.write(json.dumps([*key, cells[key]]) + "\n")
                    reference = cells[(folder.name, dtype, options.batches[0], True, options.n, options.tokens)]
                    same = sum(one == other for one, other in zip(cells[key], reference, strict=True))
                    rows.append([folder.name, dtype, size, "yes" if costs else "no", f"{same} of {options.n}"])
                    print(rows[-1], flush=True)
    body = (
        f"{options.n} texts of {options.tokens} tokens, each with a random direction of its own, {SIZE:g} of the "
        f"stream's length in the middle block. Compared with batch {options.batches[0]} with costs, token by token; "
        f"{torch.get_num_threads()} thread(s).\n\n"
    )
    heads = ["model", "dtype", "batch", "costs", "same texts"]
    write("batch-sizes", "The same text whatever the batch", body + table(heads, rows), seed=SEED)


if __name__ == "__main__":
    main()
