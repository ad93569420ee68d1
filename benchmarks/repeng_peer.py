"""Run by `repeng_files.py` in repeng's own environment: writes, reads and steers with control vectors."""

import sys

import numpy as np
import torch
from repeng import ControlModel, ControlVector
from transformers import AutoModelForCausalLM


def main() -> None:
    """`write PATH NUMBERS`, `read PATH NUMBERS`, or `steer PATH NUMBERS MODEL`."""
    job, path, numbers, *rest = sys.argv[1:]
    if job == "write":
        with np.load(numbers) as drawn:
            ControlVector(model_type="llama", directions={int(at): drawn[at] for at in drawn}).export_gguf(path)
        return
    vector = ControlVector.import_gguf(path)
    if job == "read":
        np.savez(numbers, **{str(at): row for at, row in vector.directions.items()})
        return
    hf = AutoModelForCausalLM.from_pretrained(rest[0], torch_dtype=torch.float32).eval()
    wrapped = ControlModel(hf, sorted(vector.directions))
    wrapped.set_control(vector, 1.0)
    ids = torch.from_numpy(np.load(rest[1]))
    with torch.no_grad():
        # one text at a time: repeng applies the positions of the first text to the whole batch
        np.save(numbers, torch.cat([wrapped(each[None]).logits for each in ids]).numpy())


if __name__ == "__main__":
    main()
