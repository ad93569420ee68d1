"""Every command that reads texts takes the same options about files."""

import gzip
import inspect
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

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


PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
ROWS = re.findall(r"^\| .* \| `(--(?:positive|from|pairs) .*)` \|$", PAGE.split("## Text files")[1], re.MULTILINE)


def write_the_files_of_the_page() -> None:
    """Write the same texts to every file that the table of the page names."""
    rows = [{"text": text, "topic": topic} for topic, side in (("sea", SEAS), ("land", REST)) for text in side]
    lines = {"sea": [{"text": text} for text in SEAS], "land": [{"text": text} for text in REST]}
    for name, texts in (("sea", SEAS), ("land", REST)):
        for ending, content in (
            ("txt", "\n".join(texts)),
            ("md", "\n".join(texts)),
            ("esc", "\n".join(texts)),
            ("jsonl", "".join(f"{json.dumps(row)}\n" for row in lines[name])),
            ("json", json.dumps(texts)),
        ):
            Path(f"{name}.{ending}").write_text(content)
            Path(f"{name}.{ending}.gz").write_bytes(gzip.compress(content.encode()))
        inside = "".join(f"{json.dumps({'meta': {'body': text}})}\n" for text in texts)
        Path(f"{name}-body.jsonl").write_text(inside)
        Path(f"{name}-folder").mkdir()
        for index, text in enumerate(texts):
            Path(f"{name}-folder", f"{index}.txt").write_text(text)
    Path("labelled.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    Path("labelled.csv").write_text("text,topic\n" + "".join(f"{row['text']},{row['topic']}\n" for row in rows))
    Path("bare.csv").write_text("".join(f"{row['text']};{row['topic']}\n" for row in rows))
    Path("texts.txt").write_text("".join(f"{row['text']}\n" for row in rows))
    Path("labels.txt").write_text("".join(f"{row['topic']}\n" for row in rows))
    Path("both.json").write_text(json.dumps({"sea": SEAS, "land": REST}))
    Path("parts.json").write_text(json.dumps({"train": [{"text": "x", "topic": "sea"}], "test": rows}))
    sides = list(zip(SEAS, REST, strict=True))
    Path("pairs.json").write_text(json.dumps(sides))
    Path("chosen.json").write_text(json.dumps([{"chosen": one, "rejected": other} for one, other in sides]))
    asked = [{"question": "What is it?", "matching": one, "not_matching": other} for one, other in sides]
    Path("caa.json").write_text(json.dumps(asked))
    turns = [{"messages": [{"role": "user", "content": text}]} for text in SEAS]
    Path("talk.jsonl").write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
    Dataset.from_list(rows).save_to_disk("dataset")
    Dataset.from_list(rows).to_parquet("labelled.parquet")


def pipe_from(command: str) -> str:
    """Return the path of a pipe with what a shell command prints, as `<(command)` in a shell does."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stream:
        stream.write(subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout)
    return f"/dev/fd/{reading}"


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_formats_page_is_read(
    extract: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    write_the_files_of_the_page()
    if "--chat" in row:
        settings = tiny / "tokenizer_config.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": TEMPLATE}))
    row, _, stdin = row.partition(" < ")
    with open(stdin or os.devnull) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        done = extract("x", *shlex.split(re.sub(r"<\((.*?)\)", lambda inside: pipe_from(inside[1]), row)))
    assert gap(done)


def test_the_formats_page_has_a_command_for_each_format() -> None:
    table = PAGE.split("## Text files")[1].split("|---|---|\n")[1].split("\n\n")[0]
    assert len(ROWS) == len(table.splitlines()) == 20


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
