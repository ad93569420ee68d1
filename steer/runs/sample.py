"""One sampled text with its costs and settings, and its line of JSON."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from vectors.common.errors import InputError
from vectors.common.validation import MAX_SEED, check_integer, check_number, check_utf8, list_names, quote

UNPAID = "give the model, so that they are found now (steer report --model), or sample with them"

FINISHES = ("eos", "length", "not-finite")
EARLIER: Final = "it was sampled by an earlier version, which drew other tokens from the same seed"
"""How a run differs that drew its tokens by inverse CDF: it can be read and its costs computed, but not continued."""

RUN_KEYS = ("seed", "radius", "geometry", "doses", "layer", "model", "prompt", "settings")
_PRESSURE = ("mean", "p95", "total")
# valid in JSON, but break lines, control terminals or are invalid in UTF-8: escaped as \uXXXX
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

_START = b'{"index":'


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sampled text, its costs, and everything needed to sample it again.

    Attributes:
        index: 0-based number in its run.
        text: the generated text, without the prompt.
        tokens: generated token ids.
        logprob_base, logprob_steered: total over the generated tokens, nats.
        pressure: KL(steered || base) in nats: `mean` and `p95` per generated token, and the `total`. None, like
            `logprob_base`, if the text was sampled without costs.
        seed, radius, geometry: of the run.
        doses: dose of every concept by name.
        layer: the steered layers.
        model: name of the model.
        finish: `eos` (the model ended the text), `length` (it reached the token limit) or `not-finite` (the logits of
            the next token were not finite).
        prompt: the text that was continued; empty if there was none.
        settings: sampling settings and digests of model and vectors, plain JSON values.

    Raises:
        InputError: a field with an invalid value.
    """

    index: int
    text: str
    tokens: list[int]
    logprob_base: float | None
    logprob_steered: float
    pressure: dict[str, float] | None
    seed: int
    radius: float
    geometry: str
    doses: dict[str, float]
    layer: list[int]
    model: str
    finish: str
    prompt: str = ""
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        """Check every field, and convert numbers of other libraries to plain ones."""
        checked: dict[str, object] = {"index": check_integer(self.index, "index")}
        for key in ("text", "geometry", "model", "finish", "prompt"):
            if not isinstance(getattr(self, key), str):
                raise InputError(f"{key} is {quote(getattr(self, key))}: expected text")
        check_utf8(self.text, "text")
        for key in ("tokens", "layer"):
            row = getattr(self, key)
            if isinstance(row, str | bytes | Mapping) or not isinstance(row, Iterable):
                raise InputError(f"{key} is {quote(row)}: expected a list of whole numbers")
            checked[key] = [check_integer(item, key) for item in row]
        if (self.pressure is None) != (self.logprob_base is None):
            raise InputError("one of pressure and logprob_base is missing: give both, or neither")
        for key in ("logprob_steered", "radius", *(() if self.logprob_base is None else ("logprob_base",))):
            checked[key] = check_number(getattr(self, key), key)
        checked["seed"] = check_integer(self.seed, "seed", high=MAX_SEED)
        for key in ("doses", "settings", *(() if self.pressure is None else ("pressure",))):
            if not isinstance(getattr(self, key), Mapping):
                raise InputError(f"{key} is {quote(getattr(self, key))}: expected an object")
        if self.pressure is not None:
            if sorted(self.pressure) != sorted(_PRESSURE):
                keys = list_names(self.pressure)
                raise InputError(f"pressure has {keys}: expected mean, p95 and total")
            checked["pressure"] = {key: check_number(self.pressure[key], f"pressure {key}") for key in _PRESSURE}
        checked["doses"] = {
            str(name): check_number(dose, f"dose of {quote(name)}") for name, dose in self.doses.items()
        }
        if self.finish not in FINISHES:
            raise InputError(f"finish is {quote(self.finish)}: expected {', '.join(FINISHES[:-1])} or {FINISHES[-1]}")
        try:
            checked["settings"] = json.loads(json.dumps(dict(self.settings), allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"settings are {quote(self.settings)}: expected plain JSON values") from error
        for key, value in checked.items():
            object.__setattr__(self, key, value)

    @property
    def known_pressure(self) -> dict[str, float]:
        """The pressure of a sample that has costs.

        Raises:
            InputError: a sample without costs.
        """
        if self.pressure is None:
            raise InputError(f"sample {self.index} was sampled without its costs: {UNPAID}")
        return self.pressure

    @property
    def base_nats(self) -> float:
        """Negative log-probability of the text under the base model, in nats.

        Raises:
            InputError: a sample without costs.
        """
        if self.logprob_base is None:
            raise InputError(f"sample {self.index} was sampled without its costs: {UNPAID}")
        return -self.logprob_base

    def to_json(self) -> str:
        """Return the sample as one line of JSON without a line end, keys in the order of the fields.

        Characters that could break a line or control a terminal are escaped; a JSON reader restores them.
        """
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        line = json.dumps(content, ensure_ascii=False, allow_nan=False)
        return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)

    @classmethod
    def from_json(cls, line: str | bytes, where: str = "the line") -> "Sample":
        """Return the sample of one line of JSON; unknown keys are ignored.

        Raises:
            InputError: a line that is not JSON, lacks a key or has an invalid value; the message starts with `where`.
        """
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON: give a file that `steer compose -o` wrote") from error
        if not isinstance(content, dict):
            raise InputError(f"{where} is no JSON object: give a file that `steer compose -o` wrote")
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in content]
        if missing:
            raise InputError(f"{where} is no sample, it lacks {', '.join(missing)}: give a file of samples")
        try:
            return cls(**{name: content[name] for name in names})
        except InputError as error:
            raise InputError(f"{where}: {error}") from error


def short_digest(digest: str) -> str:
    """Return a digest of a model, a vector or a covariance as samples record it."""
    return digest[:16]


def difference(sample: Sample, expect: Mapping[str, Any]) -> str:
    """Return a clause that names the first difference between a sample and its run, empty if there is none."""
    for key in sorted(expect, key=lambda key: RUN_KEYS.index(key) if key in RUN_KEYS else -1):
        pairs = [(key, getattr(sample, key), expect[key])]
        if key == "settings":
            pairs = [(name, sample.settings.get(name), value) for name, value in expect[key].items()]
            pairs = [pair for pair in pairs if pair[0] != "vectors"]
            recorded, of_run = (_mapping(settings.get("vectors")) for settings in (sample.settings, expect[key]))
            pairs += [(f"vector {name}", recorded.get(name), digest) for name, digest in of_run.items()]
        for name, value, expected in pairs:
            if name == "draw" and value is None and expected is not None:
                return EARLIER
            expected = list(expected) if isinstance(expected, tuple) else expected
            if value != expected:
                return f"its {name} is {quote(value)}, this run's is {quote(expected)}"
    return ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def read_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[Sample | None, int]]:
    """Yield each sample with the byte offset of the end of its line, and None for an incomplete last line.

    Raises:
        InputError: a line that is no sample or repeats an index.
    """
    seen: set[int] = set()
    end = 0
    for count, line in enumerate(lines, 1):
        end += len(line)
        if not line.strip():
            continue
        where = f"{name} line {count}"
        try:
            sample = Sample.from_json(line, where)
        except InputError:
            # only the start of one of our lines counts as incomplete: a foreign file is never cut
            ours = line.startswith(_START) or (count > 1 and _START.startswith(line))
            if line.endswith(b"\n") or not ours or _is_json(line):
                raise
            yield None, end
            return
        if sample.index in seen:
            raise InputError(f"{where} repeats sample {sample.index}: remove one of them")
        seen.add(sample.index)
        yield sample, end
