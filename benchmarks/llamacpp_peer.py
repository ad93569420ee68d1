"""Run by `llamacpp.py` in llama.cpp's own environment: logits at every position of some texts."""

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np


class _Given(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def control(path: str) -> np.ndarray:
    """A control vector read by ggml's parser, in the layout of llama.cpp's tools: layer 1 first."""
    folder = Path(llama_cpp.__file__).parent / "lib"
    ggml = ctypes.CDLL(str(next(folder.glob("libggml-base.*"))))
    ggml.gguf_init_from_file.restype = ctypes.c_void_p
    ggml.gguf_init_from_file.argtypes = [ctypes.c_char_p, _Given]
    for name, result, rest in (
        ("gguf_get_n_tensors", ctypes.c_int64, ()),
        ("gguf_get_data_offset", ctypes.c_size_t, ()),
        ("gguf_get_tensor_name", ctypes.c_char_p, (ctypes.c_int64,)),
        ("gguf_get_tensor_type", ctypes.c_int, (ctypes.c_int64,)),
        ("gguf_get_tensor_offset", ctypes.c_size_t, (ctypes.c_int64,)),
        ("gguf_get_tensor_size", ctypes.c_size_t, (ctypes.c_int64,)),
    ):
        function = getattr(ggml, name)
        function.restype, function.argtypes = result, [ctypes.c_void_p, *rest]
    opened = ggml.gguf_init_from_file(path.encode(), _Given(True, None))
    assert opened, "ggml does not read this file"
    raw, start = Path(path).read_bytes(), ggml.gguf_get_data_offset(opened)
    rows = {}
    for each in range(ggml.gguf_get_n_tensors(opened)):
        stem, number = ggml.gguf_get_tensor_name(opened, each).decode().split(".")
        assert stem == "direction" and int(number) > 0 and ggml.gguf_get_tensor_type(opened, each) == 0
        at, size = start + ggml.gguf_get_tensor_offset(opened, each), ggml.gguf_get_tensor_size(opened, each)
        rows[int(number)] = np.frombuffer(raw[at : at + size], dtype=np.float32)
    buffer = np.zeros((max(rows), len(next(iter(rows.values())))), dtype=np.float32)
    for layer, row in rows.items():
        buffer[layer - 1] = row
    return buffer


def main() -> None:
    """Load a model and optionally a control vector, and save the logits."""
    model_path, vector_path, ids_path, out = sys.argv[1:]
    llama_cpp.llama_backend_init()
    given = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(model_path.encode(), given)
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 256
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = 0  # F32
    settings.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, settings)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    if vector_path != "-":
        rows = control(vector_path)
        pointer = rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        layers = llama_cpp.llama_model_n_layer(model)
        assert llama_cpp.llama_set_adapter_cvec(context, pointer, rows.size, rows.shape[1], 1, layers) == 0
    found = []
    for ids in json.loads(Path(ids_path).read_text()):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = token, at, 1, True
            batch.seq_id[at][0] = 0
        assert llama_cpp.llama_decode(context, batch) == 0
        read = llama_cpp.llama_get_logits(context)
        found.append(np.ctypeslib.as_array(read, shape=(len(ids), vocabulary)).copy())
        llama_cpp.llama_batch_free(batch)
    np.save(out, np.concatenate(found))


if __name__ == "__main__":
    main()
