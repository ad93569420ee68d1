"""`steer ls`, `show` and `env`: print what is stored, without loading a model."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vectors
from cli.concepts.ls import ways_to_get_concepts
from vectors.formats.gguf import write_gguf


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vectors.common.paths.EMBEDDED_LIBRARY", tmp_path / "shipped")
    monkeypatch.setattr("vectors.common.paths.READY_MADE", tmp_path / "ready-made")


def test_an_empty_library_says_what_to_do(steer: Callable[..., Any]) -> None:
    done = steer("ls")
    assert (done.code, done.out) == (0, "") and "steer extract" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_the_commands_for_a_model_without_concepts_work_as_they_stand(
    steer: Callable[..., Any], tiny: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    shutil.rmtree(home)
    model = tmp_path / "my model"  # a name that a shell splits
    tiny.rename(model)
    monkeypatch.chdir(tmp_path)
    texts = [f"the old ship on the sea {index}" for index in range(12)]
    Path("storms.txt").write_text("\n".join(texts))
    write_gguf(Path("storm.gguf"), {1: torch.ones(32)}, model_type="llama")
    done = steer("ls", "--model", model) if named else steer("ls")
    commands = [line.strip() for line in done.err.splitlines() if line.startswith("    steer ")]
    assert done.code == 0 and len(commands) == 4 and max(map(len, ways_to_get_concepts(None))) <= 80
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "steer" and (arguments[-2:] == ["--model", str(model)]) == named
        if not named:
            arguments += ["--model", str(model)]
        more = {"compose": ["--max-tokens", "8"], "extract": ["--no-calibrate", "--layer", "1"]}.get(arguments[0], [])
        again = steer(*arguments, *more, "--device", "cpu", *([] if arguments[0] == "compose" else ["--force"]))
        assert again.code == 0, again.err
    assert [json.loads(line)["name"] for line in steer("ls", "--json").out.splitlines()] == ["storm"]


def test_ls_lists_aligned_and_as_json(steer: Callable[..., Any], tiny: Path, home: Path) -> None:
    done = steer("ls")
    heading, names, cat, sea = done.out.splitlines()
    assert tiny.name in heading and "yours" in heading
    assert cat.split() == ["cat", "1", "2", "0.97", "mean-difference"] and "gap 1.5" in sea
    assert cat.index("mean-") == sea.index("mean-") == names.index("method")
    rows = [json.loads(line) for line in steer("ls", "--json").out.splitlines()]
    assert [row["name"] for row in rows] == ["cat", "sea"]
    assert rows[0]["unit"] == 2.0 and rows[1]["unit"] is None and not rows[0]["shipped"]
    assert Path(rows[0]["path"]).is_relative_to(home)
    assert steer("ls", "--model", tiny).out == done.out
    assert steer("ls", "--model", "gpt2").out == ""


def test_concepts_that_ship_for_a_hub_model_are_listed_by_group(
    steer: Callable[..., Any], tiny: Path, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ready-made" / "someone--tiny"
    folder.mkdir(parents=True)
    for name, group in (("cat", "subject"), ("sea", "form")):
        (file,) = home.glob(f"*/{name}.safetensors")
        vector = vectors.load_file(file)
        about = {"about": {"group": group, "source": "made up"}}
        vectors.save(replace(vector, model=f"someone/{tiny.name}", evidence=about), folder / file.name)
        file.unlink()
    listed = steer("ls", "--model", f"someone/{tiny.name}")  # which is not on this machine
    heading, names, *rows = listed.out.splitlines()
    assert (listed.code, heading) == (0, f"someone/{tiny.name}: ships with steer")
    assert names.split()[:2] == ["group", "name"]
    assert [row.split()[:2] for row in rows] == [["form", "sea"], ["subject", "cat"]]
    assert steer("ls", "--model", tiny).out == listed.out  # a local copy
    assert "made up" in steer("show", "cat", "--model", tiny).out
    made = steer("compose", "cat", "--model", tiny, "-n", "1", "--max-tokens", "4", "--device", "cpu", "--json")
    assert made.code == 0 and json.loads(made.out.splitlines()[0])["doses"] == {"cat": 1.0}


def test_shipped_concepts_come_first_and_are_marked_if_yours_replace_them(
    steer: Callable[..., Any], tiny: Path, home: Path, tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for file in home.glob("*/*.safetensors"):
        (shipped / file.name).write_bytes(file.read_bytes())
        if file.name == "sea.safetensors":
            file.unlink()
    rows = [json.loads(line) for line in steer("ls", "--json").out.splitlines()]
    assert [(row["name"], row["shipped"], row["shadowed"]) for row in rows] == [
        ("cat", True, True),
        ("sea", True, False),
        ("cat", False, False),
    ]
    assert "replaced by yours" in steer("ls").out
    assert json.loads(steer("show", "cat", "--json").out)["path"].startswith(str(home))


def test_a_damaged_file_is_left_out_and_named(steer: Callable[..., Any], tiny: Path, home: Path) -> None:
    folder = next(home.iterdir())
    (folder / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    done = steer("ls")
    assert done.code == 0 and "bad" not in done.out and "skipped" in done.err
    assert steer("show", folder / "bad.safetensors").code == 1


def test_show_prints_every_field_and_the_curve(steer: Callable[..., Any], tiny: Path) -> None:
    out = steer("show", "cat").out
    for part in (
        "0.970",
        "natural gap",
        "1.5",
        "12 positive, 30 background",
        "unit curve",
        "success",
        "cat.safetensors",
    ):
        assert part in out
    stored = json.loads(steer("show", "cat", "--json").out)
    assert stored["unit_curve"][1] == {"shift": 2.0, "success": 0.9}
    assert "unit curve" not in steer("show", "sea").out and "not measured" in steer("show", "sea").out
    assert steer("show", stored["path"]).out == out


def test_unknown_names_get_the_nearest_ones(steer: Callable[..., Any], tiny: Path) -> None:
    done = steer("show", "catt")
    assert done.code == 2 and "the nearest are cat" in done.err
    assert "for model" in steer("show", "dog", "--model", tiny).err


def test_a_model_that_is_not_here_is_no_model_without_concepts(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for command in (("ls",), ("ls", "--json"), ("show", "cat")):
        done = steer(*command, "--model", "tiny-lama")
        assert (done.code, done.out) == (1, "") and "it has some for 'tiny-llama'" in done.err, command
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other-model").mkdir()
    (tmp_path / "other-model" / "config.json").write_text("{}")
    assert "(there is 'other-model')" in steer("ls", "--model", "other-modl").err
    assert "no model 'own/er'" in steer("ls", "--model", "own/er").err
    (tmp_path / "cache" / "models--own--er").mkdir(parents=True)
    done = steer("ls", "--model", "own/er")
    assert done.code == 0 and "no concepts for model 'own/er' yet" in done.err


def test_concepts_are_found_by_the_folder_of_a_model_in_the_hub_cache(
    steer: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--own--er" / "snapshots" / "0123"
    shutil.copytree(tiny, snapshot)
    done = steer("extract", "storm", "--positive", _texts(tmp_path, "wind"), "--background", _texts(tmp_path, "calm"),
                 "--method", "mean-difference", "--layer", 1, "--no-calibrate", "--device", "cpu",
                 "--model", tmp_path / "models--own--er")  # fmt: skip
    assert done.code == 0, done.err
    for name in (tmp_path / "models--own--er", snapshot, "own/er"):
        done = steer("ls", "--json", "--model", name)
        assert [json.loads(line)["model"] for line in done.out.splitlines()] == ["own/er"], name


def _texts(folder: Path, word: str) -> Path:
    path = folder / f"{word}.txt"
    path.write_text("\n".join(f"the {word} on the sea {index}" for index in range(12)))
    return path


def test_env_names_versions_and_no_secrets(
    steer: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    done = steer("env", "--json")
    found = json.loads(done.out)
    assert {"python", "torch", "transformers", "transformer-lens", "steer-sampler", "cuda", "threads"} <= set(found)
    assert found["steer_home"] == str(home) and found["embedded_hash"] and "hf_secret" not in done.out
