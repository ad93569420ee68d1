"""The shapes that published contrast sets have, with the repository of each; the texts are our own."""

import json
from pathlib import Path
from typing import Any

import pytest

from vectors.common.errors import InputError, SteerWarning
from vectors.data.reading import Reading
from vectors.data.text_files import read_contrast, read_pairs, read_texts

SEA, LAND = ("a wild sea", "a grey wave"), ("a calm field", "a green hill")
BOTH = list(zip(SEA, LAND, strict=True))

LISTS: dict[str, tuple[Any, str | None]] = {
    # andyzoujm/representation-engineering data/emotions/anger.json
    "a list of texts": (list(SEA), None),
    # andyrdt/refusal_direction dataset/splits/harmful_train.json
    "objects with an instruction and a category": (
        [{"instruction": text, "category": None} for text in SEA], "instruction",
    ),
    # jukofyork/control-vectors data/system_messages_language.json
    "an object of lists, one a class": ({"baseline": list(LAND)[:1], "stormy": list(SEA)}, "stormy"),
    # IBM/activation-steering docs/demo-data/condition_multiple.json
    "parts of objects with a column a class": (
        {"train": [{"base": two, "sea": one} for one, two in BOTH], "test": [{"base": "x", "sea": "y"}]}, "sea",
    ),
    # Hugging Face datasets: Dataset.to_dict
    "columns": ({"text": list(SEA), "label": [1, 0]}, None),
    "a part with columns": ({"train": {"text": list(SEA), "label": [1, 0]}, "test": {"text": ["x"]}}, None),
    "rows by their ids": ({"a": {"text": SEA[0]}, "b": {"text": SEA[1]}}, None),
    # pandas: Series.to_json
    "texts by their numbers": ({"0": SEA[0], "1": SEA[1]}, None),
    "data beside a version": ({"version": "1.0", "data": [{"text": text} for text in SEA]}, None),
    "texts beside a description": ({"description": "storms", "prompts": list(SEA)}, "prompts"),
    "lists of objects, one a class": (
        {"sea": [{"prompt": text} for text in SEA], "land": [{"prompt": "x"}]}, "sea.prompt",
    ),
}  # fmt: skip

PAIRS: dict[str, tuple[Any, str | None, str | None]] = {
    # nrimsky/CAA datasets/raw/*/dataset.json, anthropics/evals persona/*.jsonl
    "a question and two answers": (
        [{"question": "What is it?", "answer_matching_behavior": one, "answer_not_matching_behavior": two}
         for one, two in BOTH],
        "answer_matching_behavior", "answer_not_matching_behavior",
    ),
    # jukofyork/control-vectors data/writing_style_continuations/language.json
    "pairs beside the names of their classes": ({"classes": ["sea", "land", "none"], "data": BOTH}, None, None),
    # IBM/activation-steering docs/demo-data/behavior_refusal.json
    "an object of two lists": ({"wild": list(SEA), "tame": list(LAND)}, "wild", "tame"),
    # safety-research/persona_vectors data_generation/trait_data_extract/*.json
    "a trait with instructions, questions and a judge": (
        {"instruction": [{"pos": one, "neg": two} for one, two in BOTH], "questions": ["Why?"], "eval_prompt": "x"},
        None, None,
    ),
    # JustinShenk/latents data_download/test_prompts.json
    "two prompts with names of their own": ([{"now": one, "later": two} for one, two in BOTH], "now", "later"),
    # Anthropic hh-rlhf and other preference data
    "chosen and rejected": ([{"chosen": one, "rejected": two} for one, two in BOTH], "chosen", "rejected"),
    "a list of pairs": ([list(pair) for pair in BOTH], None, None),
    "objects with positive and negative": ([{"positive": one, "negative": two} for one, two in BOTH], None, None),
    "a part with two lists": ({"train": {"positive": list(SEA), "negative": list(LAND)}}, None, None),
}  # fmt: skip


def write(folder: Path, document: Any) -> list[Path]:
    """Write a document to files of all names that such a file may have."""
    paths = [folder / name for name in ("a.json", "one-line.jsonl", "a.txt", "a")]
    for path in paths:
        path.write_text(json.dumps(document, indent=2 if path.name == "a.json" else None))
    # a file of JSON lines may hold a single object: that is a row
    return [path for path in paths if isinstance(document, list) or path.suffix != ".jsonl"]


@pytest.mark.filterwarnings("ignore::vectors.common.errors.SteerWarning")
@pytest.mark.parametrize("shape", LISTS)
def test_texts_are_found_in_every_shape(tmp_path: Path, shape: str) -> None:
    document, column = LISTS[shape]
    for path in write(tmp_path, document):
        assert read_texts(path, field=column) == SEA, path


@pytest.mark.filterwarnings("ignore::vectors.common.errors.SteerWarning")
@pytest.mark.parametrize("shape", PAIRS)
def test_pairs_are_found_in_every_shape(tmp_path: Path, shape: str) -> None:
    document, positive, background = PAIRS[shape]
    for path in write(tmp_path, document):
        contrast = read_pairs(path, positive=positive, background=background)
        assert (contrast.positive, contrast.background, contrast.paired) == (SEA, LAND, True), path


def test_questions_go_before_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(PAIRS["a question and two answers"][0]))
    contrast = read_pairs(
        path, positive="question,answer_matching_behavior", background="question,answer_not_matching_behavior"
    )
    assert contrast.positive[0] == "What is it?\na wild sea" and contrast.background[0] == "What is it?\na calm field"


def test_a_part_is_chosen_by_name_or_train_is_read_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(LISTS["parts of objects with a column a class"][0]))
    with pytest.warns(SteerWarning, match="has the parts 'train', 'test': 'train' is read; --split"):
        assert read_texts(path, field="base") == LAND
    assert read_texts(path, field="base", how=Reading(split="test")) == ("x",)
    with pytest.raises(InputError, match="no split 'dev': choose from 'train', 'test'"):
        read_texts(path, how=Reading(split="dev"))
    path.write_text(json.dumps({"dev": [{"text": "x"}], "test": [{"text": "y"}]}))
    with pytest.raises(InputError, match=r"several parts .'dev', 'test'.: name one by --split"):
        read_texts(path)


def test_what_is_left_out_of_a_document_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(PAIRS["a trait with instructions, questions and a judge"][0]))
    with pytest.warns(SteerWarning, match="its 'instruction' is read, and nothing else of it"):
        read_pairs(path)


def test_a_single_object_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "waves", "tags": ["sea", "blue"]}\n')
    assert read_texts(path) == ("waves",)
    path = path.rename(tmp_path / "a.json")
    assert read_texts(path) == ("waves",)


def test_conditions_work_on_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"text": ["waves", "dunes", "foam"], "label": [1, 0, 1]}))
    assert read_contrast(path, "label=1").positive == ("waves", "foam")


def test_what_is_no_json_is_told_by_one_line_number(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n' * 700 + '{"text": "y",}\n')
    with pytest.raises(InputError, match=r"line 701 is not JSON \(.[A-Z][^:]*, character \d+\): give an object"):
        read_texts(path)
    path.write_text("\n".join(json.dumps({"text": text}, indent=2) for text in "xyz"))  # as jq writes by default
    with pytest.raises(InputError, match=r"line 4 is not JSON .*jq -c \. FILE writes that"):
        read_texts(path)
