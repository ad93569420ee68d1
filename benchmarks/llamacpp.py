"""Exported files in llama.cpp compared with live steering: `python benchmarks/llamacpp.py`.

llama-cpp-python is built from source in an environment of its own under `--peers FOLDER`, which takes a while.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from harness import embedded
from peers import FOLDER, python_of
from report import table, write
from torch import Tensor
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

import steer
from vectors.almanac.world.author import stream
from vectors.formats.checkpoint.write import write_checkpoint
from vectors.formats.gguf import write_gguf
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

PACKAGES = ["llama-cpp-python==0.3.36"]
BUILD = {"CMAKE_ARGS": "-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF"}
EXPRESSION = "sonnet + quantum + cat"

NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
"""GGUF names of the parts of a Llama block."""


def converted(hf: Any, path: Path) -> Path:
    """Write a Llama as GGUF in float32 without a tokenizer: texts are passed as ids."""
    config = hf.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, weight in hf.state_dict().items():
        plain = weight.float().numpy()
        if name.startswith("model.layers."):
            _, _, number, rest = name.split(".", 3)
            part, what = rest.rsplit(".", 1)
            if NAMES[part] in heads:  # GGUF interleaves rotary pairs; transformers keeps them half a head apart
                n = heads[NAMES[part]]
                plain = plain.reshape(n, 2, len(plain) // n // 2, -1).swapaxes(1, 2).reshape(plain.shape)
            writer.add_tensor(f"blk.{number}.{NAMES[part]}.{what}", np.ascontiguousarray(plain))
        elif name != "lm_head.weight" or not config.tie_word_embeddings:
            known = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
            writer.add_tensor(f"{known[name.removesuffix('.weight')]}.weight", plain)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def live(model: ResidualModel, texts: Sequence[Sequence[int]], deltas: Mapping[int, Tensor], positions: str) -> Any:
    """Log-probabilities of the next token at every position, steered by this library."""
    found = []
    for ids in texts:
        spread = {at: shift_by_position(delta[None], len(ids), len(ids), positions) for at, delta in deltas.items()}
        with torch.no_grad(), shift_layers(model, spread):
            found.append(model.hf(**model.batch([ids]), use_cache=False).logits[0])
    return torch.cat(found).double().log_softmax(dim=-1)


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=FOLDER)
    parser.add_argument("-n", type=int, default=24, help="texts")
    given = parser.parse_args()
    python = python_of(given.peers, "llama-cpp", PACKAGES, BUILD)
    if python is None:
        raise SystemExit(1)
    model = embedded()
    texts = model.encode([made.text for made in islice(stream(11), given.n)], max_tokens=128)
    prefixes = sum(map(len, texts))
    random = torch.Generator().manual_seed(0)
    drawn = {layer: torch.randn(model.d_model, generator=random) for layer in range(1, model.n_layers)}
    point = steer.compose(EXPRESSION, model)
    rows = {layer: point.main_shift(layer) for layer in point.layers}
    none = live(model, texts, {}, "all")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "ids.json").write_text(json.dumps(texts))

        def there(gguf_model: Path, vector: Path | None = None) -> Any:
            arguments = [gguf_model, vector or "-", place / "ids.json", place / "out.npy"]
            script = Path(__file__).with_name("llamacpp_peer.py")
            subprocess.run([python, script, *arguments], check=True, stderr=subprocess.DEVNULL)
            return torch.from_numpy(np.load(place / "out.npy")).double().log_softmax(dim=-1)

        def controlled(deltas: Mapping[int, Tensor]) -> Any:
            vector = write_gguf(place / "vector.gguf", deltas, model_type="llama", force=True)
            return there(base, vector)

        def carried(deltas: Mapping[int, Tensor], positions: str) -> Any:
            held = write_checkpoint(place / positions, model, deltas, positions=positions)
            hf = AutoModelForCausalLM.from_pretrained(held, dtype=torch.float32)
            return there(converted(hf, place / "steered.gguf"))

        base = converted(model.hf, place / "base.gguf")
        one = {3: drawn[3]}
        cases: list[tuple[str, Callable[[], Any], Mapping[int, Tensor], str]] = [
            ("nothing", lambda: there(base), {}, "all"),
            *(
                (f"control vector, layer {layer}", lambda layer=layer: controlled({layer: drawn[layer]}),
                 {layer: drawn[layer]}, "all")
                for layer in drawn
            ),
            ("control vector, every layer", lambda: controlled(drawn), drawn, "all"),
            ("the one for layer 3, beside ours at 2", lambda: controlled(one), {2: drawn[3]}, "all"),
            ("the one for layer 3, beside ours at 4", lambda: controlled(one), {4: drawn[3]}, "all"),
            ("checkpoint, layer 3, every position", lambda: carried(one, "all"), one, "all"),
            (f"checkpoint, {EXPRESSION}, start token", lambda: carried(rows, "bos"), rows, "bos"),
            ("checkpoint, layer 3, every position but the start token's", lambda: carried(one, "not-bos"), one,
             "not-bos"),
        ]  # fmt: skip
        rows = []
        for name, run, deltas, positions in cases:
            ours = live(model, texts, deltas, positions)
            off, moved = (float((ours - other).abs().max()) for other in (run(), none))
            rows.append([name, f"{off:.1e}", f"{moved:.2f}"])
            print(rows[-1], flush=True)
    body = (
        f"Log-probabilities of every next token after {prefixes} prefixes ({given.n} texts of the world) in "
        f"llama.cpp ({PACKAGES[0].replace('==', ' ')}, CPU, weights and cache in F32) and here: the largest "
        "difference in nats, and the largest change by steering itself. The control vectors are files that `steer "
        "export` writes, parsed by ggml, with random directions whose length is the root of the width; two rows "
        "show that a shift by one layer would be visible. Checkpoints are converted to GGUF with their biases and "
        "neurons.\n\n" + table(["", "largest difference", "moved by steering"], rows)
    )
    write("llamacpp", "llama.cpp beside live steering", body, seed=0)


if __name__ == "__main__":
    main()
