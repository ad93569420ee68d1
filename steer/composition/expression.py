"""Expressions such as `sonnet + 0.8 cat - gloomy`: parse them to doses, and format doses as an expression."""

import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from vectors.common.errors import InputError
from vectors.common.validation import check_number, quote

METHODS = ("exact", "sum", "rotate")
"""How `steer.compose` makes one shift of several concepts."""

MAX_DOSE = 1000.0
MAX_LENGTH = 20_000
MAX_DEPTH = 50
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SIGNS = {"+": "+", "-": "-", "*": "*", "(": "(", ")": ")", "\u2212": "-", "\u00d7": "*"}  # typeset minus and times too
_NOT_IN_NAMES = frozenset("\u2212\u00d7\u2010\u2011\u2012\u2013\u2014\u00b7\u2018\u2019\u201c\u201d\u00ab\u00bb\ufffd")
_NOT_NUMBERS = frozenset({"nan", "inf", "infinity"})


class _Token(NamedTuple):
    kind: str  # "number", "name", "end", or one of + - * ( )
    text: str  # as written
    value: str  # a name without its quotes
    start: int  # 0-based character


class Doses(dict[str, float]):
    """The dose of every concept by name, already checked, so that `compose` need not check it again."""


def parse(expression: str) -> Doses:
    """Return the dose of every concept in an expression, in order of appearance; doses of a repeated name add up.

    Terms are `cat`, `0.8 cat`, `0.8*cat`, `cat*0.8`, `2*(cat + dog)`, joined by `+` and `-`. A name without quotes
    consists of letters, digits, `_ . / ~`, and `-` inside a word: `slow-burn` is one name, `slow - burn` and
    `slow -burn` are differences. Other names and paths are quoted, and a quote inside is doubled: `'my cat'`,
    `"it's"`, `'it''s'`.

    Raises:
        InputError: a syntax error, with its character, or a dose that is not finite or above 1000.

    >>> parse("sonnet + 0.8 cat - gloomy")
    {'sonnet': 1.0, 'cat': 0.8, 'gloomy': -1.0}
    """
    if not isinstance(expression, str):
        raise InputError(f"an expression is text, got {quote(expression)}")
    if len(expression) > MAX_LENGTH:
        raise InputError(f"the expression has {len(expression)} characters: keep to {MAX_LENGTH}")
    parser = _Parser(expression)
    if parser.peek().kind == "end":
        raise InputError('the expression is empty: name at least one concept, such as "cat + 0.8 storm"')
    doses = parser.sum(0)
    if parser.peek().kind != "end":
        parser.fail(
            'expected "+", "-" or the end' + (', or "*" before a dose' if parser.peek().kind == "number" else "")
        )
    return Doses({name: check_dose(dose, name) for name, dose in doses.items()})


def format_doses(doses: Mapping[str, float]) -> str:
    """Return the canonical expression of some doses; `parse` returns exactly the same doses.

    Raises:
        InputError: no concept, an empty name, or a dose that is not finite or above 1000.

    >>> format_doses({"sonnet": 1.0, "cat": 0.8, "gloomy": -1.0, "slow burn": 2})
    "sonnet + 0.8 cat - gloomy + 2 'slow burn'"
    """
    if not doses:
        raise InputError("there are no doses: name at least one concept")
    words: list[str] = []
    for name, value in doses.items():
        dose = check_dose(value, name)
        sign = "-" if dose < 0 else "+"
        amount = repr(abs(dose)).removesuffix(".0")
        term = _format_name(name) if amount == "1" else f"{amount} {_format_name(name)}"
        words.append(f"{sign} {term}" if words else term if sign == "+" else f"-{term}")
    return " ".join(words)


def check_dose(dose: object, name: str) -> float:
    """Return a dose as a float.

    Raises:
        InputError: a dose that is not finite or above 1000; the message names the concept.
    """
    value = check_number(dose, f"the dose of {quote(name)}")
    if abs(value) > MAX_DOSE:
        raise InputError(
            f"the dose of {quote(name)} is {value:g}: keep within {MAX_DOSE:g}, 1 is enough and 2 emphatic"
        )
    return value


def _format_name(name: str) -> str:
    if not name:
        raise InputError("a concept has an empty name: give it at least one letter")
    reads_as_number = _NUMBER.match(name) or name.casefold() in _NOT_NUMBERS
    if not reads_as_number and _bare_end(name, 0) == len(name):
        return name
    quote = '"' if "'" in name and '"' not in name else "'"
    return quote + name.replace(quote, 2 * quote) + quote


def _in_name(character: str) -> bool:
    plain = character.isalnum() or character in "_./~\u200d"
    return plain or (ord(character) > 127 and character.isprintable() and character not in _NOT_IN_NAMES)


def _bare_end(text: str, start: int) -> int:
    """Return the end of the unquoted name at `start`; a hyphen belongs to it between two name characters."""
    end = start
    while end < len(text):
        is_inner_hyphen = (
            text[end] == "-" and end > start and text[end - 1] != "-" and _in_name(text[end + 1 : end + 2] or " ")
        )
        if not (is_inner_hyphen or _in_name(text[end])):
            break
        end += 1
    return end


class _Parser:
    """Recursive descent parser.

    sum = term {(+|-) term}; term = signs [NUMBER {* signs NUMBER} [*]] (NAME | ( sum )) {* signs NUMBER}.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[_Token] = []
        self.index = 0
        position = 0
        while not self.tokens or self.tokens[-1].kind != "end":
            self.tokens.append(self.scan(position))
            position = self.tokens[-1].start + len(self.tokens[-1].text)

    def scan(self, start: int) -> _Token:
        text = self.text
        while start < len(text) and text[start].isspace():
            start += 1
        if start == len(text):
            return _Token("end", "", "", start)
        first = text[start]
        if first in _SIGNS:
            return _Token(_SIGNS[first], first, "", start)
        if first in "'\"":
            match = re.compile(f"{first}((?:[^{first}]|{first}{first})*){first}").match(text, start)
            if match is None:
                self.fail(f"this quote is never closed, add {first}", _Token("name", text[start:], "", start))
            token = _Token("name", match[0], match[1].replace(2 * first, first), start)
            if not token.value:
                self.fail("expected a concept name between the quotes", token)
            return token
        digits = _NUMBER.match(text, start)
        if digits is not None:
            token = _Token("number", digits[0], "", start)
            if _in_name(text[digits.end() : digits.end() + 1] or " "):
                name = _Token("name", text[start : _bare_end(text, start)], "", start)
                self.fail("put a space between a dose and a name, or quote a name that starts with a digit", name)
            if not float(token.text) and re.search("[1-9]", re.split("[eE]", token.text)[0]):
                self.fail("this dose is too small to be distinguished from 0", token)
            if abs(float(token.text)) > MAX_DOSE:
                self.fail(f"a dose must be finite and within {MAX_DOSE:g}, 1 is enough and 2 emphatic", token)
            return token
        word = text[start : _bare_end(text, start)]
        if word.casefold() in _NOT_NUMBERS:
            self.fail(
                "a dose must be a finite number (quote it if it is a concept's name)", _Token("name", word, "", start)
            )
        if not word:
            self.fail(
                "expected a concept name, a dose, or one of + - * ( ); a name with other characters goes in quotes",
                _Token("", first, "", start),
            )
        return _Token("name", word, word, start)

    def peek(self) -> _Token:
        return self.tokens[self.index]

    def take(self, *kinds: str) -> _Token | None:
        token = self.peek()
        if token.kind not in kinds:
            return None
        self.index += token.kind != "end"
        return token

    def sign(self) -> float:
        result = 1.0
        while token := self.take("+", "-"):
            result = -result if token.kind == "-" else result
        return result

    def sum(self, depth: int) -> dict[str, float]:
        doses: dict[str, float] = {}
        sign = 1.0
        while True:
            for name, dose in self.term(depth).items():
                doses[name] = doses.get(name, 0.0) + sign * dose
            token = self.take("+", "-")
            if token is None:
                return doses
            sign = -1.0 if token.kind == "-" else 1.0

    def term(self, depth: int) -> dict[str, float]:
        first, factor = self.peek(), self.sign()
        while token := self.take("number"):
            factor = self.times(factor, float(token.text), token)
            if self.take("*"):
                factor *= self.sign()
            elif self.peek().kind == "number":
                self.fail('expected a name, or "*" between two doses')
        opening = self.take("(")
        if opening is not None:
            if depth == MAX_DEPTH:
                self.fail(f"more than {MAX_DEPTH} parentheses inside each other, write it flatter", opening)
            doses = self.sum(depth + 1)
            if self.take(")") is None:
                self.fail(f'expected ")" for the "(" at character {opening.start + 1}')
        else:
            name = self.take("name")
            if name is None:
                self.fail("expected a concept name")
            doses = {name.value: 1.0}
        while self.take("*"):
            factor *= self.sign()
            token = self.take("number")
            if token is None:
                self.fail("expected a dose after a name and *")
            factor = self.times(factor, float(token.text), token)
        return {name: self.times(factor, dose, first) for name, dose in doses.items()}

    def times(self, one: float, other: float, token: _Token) -> float:
        if one and other and not one * other:
            self.fail("this dose is too small to be distinguished from 0", token)
        return one * other

    def fail(self, expected: str, token: _Token | None = None) -> NoReturn:
        token = token or self.peek()
        where = f"at character {token.start + 1} ({quote(token.text)})" if token.kind != "end" else "at the end"
        raise InputError(f"cannot read the expression {quote(self.text)} {where}: {expected}")
