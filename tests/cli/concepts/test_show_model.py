"""`steer show --model M` prints the facts of a model; models that are not there are named in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.gguf_model import write_model
from transformers import LlamaForCausalLM


def test_the_facts_of_a_model(steer: Callable[..., Any], tiny: Path) -> None:
    done = steer("show", "--model", tiny, "--device", "cpu")
    lines = {line[:13].strip(): line[15:] for line in done.out.splitlines()[1:]}
    assert done.code == 0 and done.out.startswith("tiny-llama\n")
    assert lines["family"] == "llama (LlamaForCausalLM)" and lines["blocks"].startswith("3, layers 0 to 2")
    assert lines["width"] == "32" and lines["vocabulary"].startswith("64 embeddings")
    assert lines["start token"] == "'<bos>' (0)" and lines["end tokens"] == "'<eos>' (1)"
    assert lines["context"] == "64 tokens" and "in float32, on cpu" in lines["weights"]
    assert lines["library"].startswith("2 concepts")
    facts = json.loads(steer("show", "--model", tiny, "--device", "cpu", "--json").out)
    n_weights = sum(weight.numel() for weight in LlamaForCausalLM.from_pretrained(tiny).parameters())
    assert facts["parameters"] == n_weights and facts["memory_bytes"] == 4 * n_weights
    assert facts["concepts"] == ["cat", "sea"] and facts["passport"]["on_grid"] is False
    assert facts["hash"] in done.out and "values" not in facts["passport"]


def test_a_concept_or_a_model_is_asked_for(steer: Callable[..., Any], tiny: Path) -> None:
    assert steer("show").code == 2
    assert steer("show", "cat", "--model", tiny, "--dtype", "float32").code == 2
    assert steer("show", "cat", "--model", tiny).code == 0


def test_missing_models_are_named_with_their_neighbours(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (("ls",), ("show", "cat"), ("show",), ("compose", "cat"), ("compose",)):
        done = steer(*command, "--model", "./tiny-lama")
        assert done.code == 1 and "there is 'tiny-llama'" in done.err, command
        done = steer(*command, "--model", "NO_SUCH.gguf")
        assert done.code == 1 and "there is no file 'NO_SUCH.gguf'" in done.err, command
    Path("pointer.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    for command in (("ls",), ("compose",)):
        assert "git lfs pull" in steer(*command, "--model", "pointer.gguf").err
    (tiny / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    done = steer("compose", "--model", tiny)
    assert done.code == 1 and "model.safetensors' is a Git LFS pointer" in done.err


def test_shards_that_are_not_there_are_named(steer: Callable[..., Any], tiny: Path) -> None:
    index = tiny / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}))
    done = steer("compose", "--model", tiny)
    assert done.code == 1 and "lacks 'model-00002-of-00002.safetensors'" in done.err
    index.write_text("{")
    assert "index.json' is damaged" in steer("compose", "--model", tiny).err


def test_a_gguf_file_is_a_model(steer: Callable[..., Any], tiny: Path, tmp_path: Path, home: Path) -> None:
    hf = LlamaForCausalLM.from_pretrained(tiny)
    hf.resize_token_embeddings(258, mean_resizing=False)
    path = write_model(tmp_path / "small.gguf", hf.eval())
    shutil.rmtree(home)
    first = steer("compose", "-n", 2, "--seed", 1, "--max-tokens", 6, "--model", path, "--json", "--device", "cpu")
    assert first.code == 0 and "'small.gguf' (F32) was converted once, to" in first.err
    again = steer("compose", "-n", 2, "--seed", 1, "--max-tokens", 6, "--model", path, "--json", "--device", "cpu")
    assert again.out == first.out and "converted" not in again.err
    rows = [json.loads(line) for line in first.out.splitlines()]
    assert all(row["pressure"] == {"mean": 0.0, "p95": 0.0, "total": 0.0} and row["doses"] == {} for row in rows)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"the sea {n}" for n in range(8)))
    made = steer("extract", "sea", "--positive", texts, "--background", texts, "--model", path, "--layer", 1,
                 "--method", "mean-difference", "--no-calibrate")  # fmt: skip
    assert made.code in (0, 1, 2)  # the texts may be refused: what counts is the listing
    assert steer("ls", "--model", path).code == 0


def test_what_a_model_writes_by_itself_can_be_reported(steer: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "own.jsonl"
    done = steer("compose", "-n", 4, "--seed", 1, "--max-tokens", 8, "--model", tiny, "--device", "cpu", "-o", run)
    assert done.code == 0 and "without steering" in done.err
    report = steer("report", run, "--model", tiny, "--device", "cpu")
    assert report.code == 0, report.err
