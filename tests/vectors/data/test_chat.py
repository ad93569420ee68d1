"""Conversations become texts by the chat template of a model, with one start token."""

import json
from pathlib import Path

import pytest

from vectors.common.errors import InputError
from vectors.data.chat import chat_template
from vectors.data.reading import Reading
from vectors.data.text_files import read_pairs, read_texts
from vectors.model.residual_model import ResidualModel

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role not in ('user', 'assistant') %}{{ raise_exception('no ' + m.role) }}{% endif %}"
    " {{ m.role }} : {{ m.content }} .{% endfor %}{% if add_generation_prompt %} assistant :{% endif %}"
)
TURNS = [{"role": "user", "content": "the sea"}, {"role": "assistant", "content": "a storm"}]


@pytest.fixture
def chat(llama_model: ResidualModel) -> Reading:
    llama_model.tokenizer.chat_template = TEMPLATE
    return Reading(chat=chat_template(llama_model.tokenizer, llama_model.name))


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_both_conventions_give_the_text_of_the_template(chat: Reading, tmp_path: Path) -> None:
    sharegpt = [{"from": "human", "value": "the sea"}, {"from": "gpt", "value": "a storm"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "the sea"}]}, TURNS[1]]
    path = write(tmp_path / "a.jsonl", {"messages": TURNS}, {"messages": sharegpt}, {"messages": parts})
    assert set(read_texts(path, how=chat)) == {"<bos> user : the sea . assistant : a storm ."}
    path = write(tmp_path / "b.jsonl", {"conversations": sharegpt, "topic": "sea"})
    assert read_texts(path, how=chat) == ("<bos> user : the sea . assistant : a storm .",)
    path = tmp_path / "c.json"
    path.write_text(json.dumps([TURNS, TURNS]))
    assert len(read_texts(path, how=chat)) == 2


def test_the_start_token_is_not_doubled(chat: Reading, llama_model: ResidualModel, tmp_path: Path) -> None:
    (text,) = read_texts(write(tmp_path / "a.jsonl", {"messages": TURNS}), how=chat)
    (ids,) = llama_model.encode([text])
    assert text.startswith("<bos>") and ids.count(llama_model.bos_id) == 1


def test_the_users_turn_is_followed_by_the_beginning_of_an_answer(chat: Reading, tmp_path: Path) -> None:
    expected = ("<bos> user : the sea . assistant :",)
    assert read_texts(write(tmp_path / "a.jsonl", {"messages": TURNS[:1]}), how=chat) == expected
    assert read_texts(write(tmp_path / "b.jsonl", {"text": "the sea"}), how=chat) == expected


def test_columns_are_turns_in_order(chat: Reading, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"question": "the sea", "yes": "a storm", "no": "a bird"})
    contrast = read_pairs(path, positive="question,yes", background="question,no", how=chat)
    assert contrast.positive == ("<bos> user : the sea . assistant : a storm .",)
    assert contrast.background == ("<bos> user : the sea . assistant : a bird .",)
    path = write(tmp_path / "b.jsonl", {"chosen": TURNS, "rejected": TURNS[:1]})
    assert read_pairs(path, positive="chosen", background="rejected", how=chat).positive == contrast.positive


def test_conversations_without_a_template_are_refused(
    chat: Reading, llama_model: ResidualModel, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": TURNS})
    with pytest.raises(InputError, match=r"line 1 holds a conversation.*pass --chat"):
        read_texts(path)
    path = write(tmp_path / "b.jsonl", {"messages": [{"role": "system", "content": "x"}]})
    with pytest.raises(InputError, match=r"line 1: the chat template of 'tiny-llama' refuses .*no system"):
        read_texts(path, how=chat)
    path = write(tmp_path / "c.jsonl", {"messages": [{"role": "user", "content": 3}]})
    with pytest.raises(InputError, match=r"line 1 has .* as message 1: expected"):
        read_texts(path, how=chat)
    llama_model.tokenizer.chat_template = None
    with pytest.raises(InputError, match="has no chat template: give the instruction-tuned"):
        chat_template(llama_model.tokenizer, llama_model.name)
