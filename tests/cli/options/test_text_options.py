"""Every command that reads texts takes the same options about files."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.options.text_options import TextOptions, with_text_options
from vectors.common.errors import InputError

SEAS = [f"the old ship {word} on the sea" for word in ("ran", "rose", "fell", "sang", "was", "saw")]
REST = [f"the dog {word} by the tree" for word in ("ran", "rose", "fell", "sang", "was", "saw")]
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"


@pytest.fixture
def extract(steer: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run `steer extract` on the tiny model in a folder with the texts in several formats."""
    monkeypatch.chdir(tmp_path)
    rows = [{"body": text, "label": label} for label, side in ((1, SEAS), (0, REST)) for text in side]
    Path("rows.csv").write_text("body;label\n" + "".join(f"{row['body']};{row['label']}\n" for row in rows))
    Path("sides.json").write_text(json.dumps({"sea": SEAS, "land": REST}))
    turns = [{"messages": [{"role": "user", "content": text}]} for text in (*SEAS, *REST)]
    Path("chats.jsonl").write_text(
        "".join(f"{json.dumps(row | turn)}\n" for row, turn in zip(rows, turns, strict=True))
    )
    Path("seas.txt").write_text("\n".join(text.replace(" on", r"\non") for text in SEAS))
    Path("rest.txt").write_text("\n".join(REST))
    return lambda *more: steer(
        "extract", *more, "--model", tiny, "--device", "cpu", "--method", "mean-difference", "--no-calibrate",
        "--layer", 1, "--json", "--force",
    )  # fmt: skip


def gap(done: Any) -> float:
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["n_positive"], told["n_background"]) == (6, 6)
    return told["gap"]


def test_the_same_texts_give_the_same_concept_from_every_file(extract: Callable[..., Any], tmp_path: Path) -> None:
    Path("plain.txt").write_text("\n".join(SEAS))
    expected = gap(extract("x", "--positive", "plain.txt", "--background", "rest.txt"))
    for arguments in (
        ("--from", "rows.csv", "--where", "label=1", "--text-column", "body"),
        ("--from", "rows.csv", "--where", "label=1.0", "--delimiter", ";"),
        ("--positive", "sides.json", "--positive-column", "sea", "--background", "sides.json",
         "--negative-column", "land"),
        ("--positive", "sides.json", "--text-column", "sea", "--background", "rest.txt"),
        ("--from", "chats.jsonl", "--where", "label=1", "--text-column", "body"),
    ):  # fmt: skip
        assert gap(extract("x", *arguments)) == pytest.approx(expected), arguments


def test_pairs_have_columns_by_name(extract: Callable[..., Any]) -> None:
    done = extract("x", "--pairs", "sides.json", "--positive-column", "sea", "--negative-column", "land")
    assert gap(done) and json.loads(done.out)["held_out"] is None
    done = extract("x", "--pairs", "sides.json")
    assert done.code == 2 and "it has 'sea', 'land'; name the one that holds the text by --positive-column" in done.err
    done = extract("x", "--pairs", "sides.json", "--text-column", "sea")
    assert done.code == 2 and "give --positive-column and --negative-column" in done.err


def test_what_was_understood_is_a_note_on_stderr(extract: Callable[..., Any]) -> None:
    done = extract("x", "--from", "rows.csv", "--where", "label=1")
    assert "note: 'rows.csv' is read with ';' between its cells" in done.err
    assert "its only texts, under 'body', are read" in done.err and json.loads(done.out)


def test_escapes_are_turned_back_on_request(extract: Callable[..., Any]) -> None:
    done = extract("x", "--positive", "seas.txt", "--background", "rest.txt")
    assert r"note: 6 of 6 texts of 'seas.txt' hold \n as two characters" in done.err
    turned = extract("x", "--positive", "seas.txt", "--background", "rest.txt", "--escapes")
    assert "as two characters" not in turned.err and gap(turned) != gap(done)


def test_conversations_need_chat_and_a_template(extract: Callable[..., Any], tiny: Path) -> None:
    arguments = ("x", "--from", "chats.jsonl", "--where", "label=1", "--text-column", "messages")
    done = extract(*arguments)
    assert done.code == 2 and "holds a conversation, not a text: pass --chat" in done.err
    done = extract(*arguments, "--chat")
    assert done.code == 2 and "has no chat template: give the instruction-tuned model" in done.err
    settings = tiny / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": TEMPLATE}))
    assert gap(extract(*arguments, "--chat"))


def test_stdin_in_all_its_names_is_read_only_once(extract: Callable[..., Any]) -> None:
    for one, other in (("-", "-"), ("-", "/dev/stdin"), ("/dev/fd/0", "/dev/stdin")):
        done = extract("x", "--positive", one, "--background", other)
        assert done.code == 2 and "stdin can be read only once" in done.err


def test_every_command_that_reads_texts_has_the_options(steer: Callable[..., Any]) -> None:
    options = ("--format", "--text-column", "--delimiter", "--no-header", "--split", "--escapes", "--chat")
    for command in ("extract", "discover", "import", "report", "compare", "dose", "sweep", "fidelity"):
        shown = steer(command, "--help").out
        assert all(f"  {option} " in shown for option in options), command


def test_a_command_gets_the_values_as_one_argument() -> None:
    given: list[Any] = []

    @with_text_options
    def command(name: str = "x", reading: TextOptions = TextOptions(), seed: int = 0) -> None:  # noqa: B008
        given.append((name, reading, seed))

    parameters = list(inspect.signature(command).parameters)
    assert parameters[0] == "name" and parameters[-1] == "seed" and "reading" not in parameters
    values = {parameter: None for parameter in parameters[1:-1]} | {"split": "test", "no_header": True, "chat": False}
    command(name="y", seed=3, **values)
    name, reading, seed = given[0]
    assert (name, seed, reading.split) == ("y", 3, "test") and not reading.how(None).header


def test_chat_without_a_model_is_refused() -> None:
    with pytest.raises(InputError, match="name it by --model"):
        TextOptions(chat=True).how(None)
