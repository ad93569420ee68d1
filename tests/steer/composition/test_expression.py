"""Expressions: parsing, formatting, and the character that a syntax error names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.composition.expression import MAX_DOSE, format_doses, parse
from vectors.common.errors import InputError


@pytest.mark.parametrize(
    ("expression", "doses"),
    [
        ("cat", {"cat": 1.0}),
        ("sonnet + 0.8 cat - 0.5 gloomy", {"sonnet": 1.0, "cat": 0.8, "gloomy": -0.5}),
        ("sonnet+0.8*cat-gloomy", {"sonnet": 1.0, "cat-gloomy": 0.8}),  # a hyphen inside a word belongs to it
        ("cat*0.5 + .5 dog + 2. sea + 1e-1 sky", {"cat": 0.5, "dog": 0.5, "sea": 2.0, "sky": 0.1}),
        ("slow-burn", {"slow-burn": 1.0}),
        ("slow - burn", {"slow": 1.0, "burn": -1.0}),
        ("slow -burn", {"slow": 1.0, "burn": -1.0}),
        ("slow- burn", {"slow": 1.0, "burn": -1.0}),
        ("a--b", {"a": 1.0, "b": 1.0}),
        ("-cat", {"cat": -1.0}),
        ("- - cat + -0.5 dog + +sea", {"cat": 1.0, "dog": -0.5, "sea": 1.0}),
        ("2*-cat", {"cat": -2.0}),
        ("cat*-2", {"cat": -2.0}),
        ("2*(cat + 0.5 dog) - (sea - sky)*3", {"cat": 2.0, "dog": 1.0, "sea": -3.0, "sky": 3.0}),
        ("2(cat)", {"cat": 2.0}),
        ("2*3 cat * 4", {"cat": 24.0}),
        ("cat + cat + 'cat'", {"cat": 3.0}),
        ("cat - cat", {"cat": 0.0}),
        ("0 cat + dog", {"cat": 0.0, "dog": 1.0}),
        ("'my cat' + \"it's\" + 'it''s' + '2'", {"my cat": 1.0, "it's": 2.0, "2": 1.0}),
        ("0.5 ./my/cat.safetensors + ~/dog.safetensors", {"./my/cat.safetensors": 0.5, "~/dog.safetensors": 1.0}),
        ("'C:\\new cats\\a.safetensors'", {"C:\\new cats\\a.safetensors": 1.0}),
        ("猫 + 0.5 🐈‍⬛ + naïve", {"猫": 1.0, "🐈‍⬛": 0.5, "naïve": 1.0}),
        ("cat \u2212 2 \u00d7 dog", {"cat": 1.0, "dog": -2.0}),
        ("\tcat\n+\u00a0dog ", {"cat": 1.0, "dog": 1.0}),
        ("nancy + info", {"nancy": 1.0, "info": 1.0}),
        ("'nan'", {"nan": 1.0}),
    ],
)
def test_expressions_are_read(expression: str, doses: dict[str, float]) -> None:
    assert parse(expression) == doses


def test_the_order_is_that_of_appearance() -> None:
    assert list(parse("sea + cat + 2 sea + ant")) == ["sea", "cat", "ant"]


@pytest.mark.parametrize(
    ("expression", "where", "why"),
    [
        ("", "empty", "at least one concept"),
        ("  ", "empty", "at least one concept"),
        ("cat +", "at the end", "expected a concept name"),
        ("cat + + ", "at the end", "expected a concept name"),
        ("cat + * dog", r"character 7 \('\*'\)", "expected a concept name"),
        ("cat dog", r"character 5 \('dog'\)", r'expected "\+", "-" or the end'),
        ("cat 0.5", r"character 5 \('0.5'\)", r'"\*" before a dose'),
        ("0.5", "at the end", "expected a concept name"),
        ("0.5 + cat", r"character 5 \('\+'\)", "expected a concept name"),
        ("2 -cat", r"character 3 \('-'\)", "expected a concept name"),
        ("cat * dog", r"character 7 \('dog'\)", r"expected a dose after a name and \*"),
        ("cat, dog", r"character 4 \(','\)", "in quotes"),
        ("cat + [dog]", r"character 7 \('\['\)", "in quotes"),
        ("cat\0", r"character 4 \('\\x00'\)", "in quotes"),
        ("“cat”", r"character 1 \('“'\)", "in quotes"),
        ("cat + 'dog", r'character 7 \("\'dog"\)', "never closed"),
        ("cat + ''", r'character 7 \("\'\'"\)', "between the quotes"),
        ("(cat", "at the end", r'expected "\)" for the "\(" at character 1'),
        ("cat)", r"character 4 \('\)'\)", "expected"),
        ("()", r"character 2 \('\)'\)", "expected a concept name"),
        ("2cats", r"character 1 \('2cats'\)", "put a space"),
        ("1.5.2 cat", r"character 1 \('1.5.2'\)", "put a space"),
        ("cat + 1e400 dog", r"character 7 \('1e400'\)", "must be finite"),
        ("1001 cat", r"character 1 \('1001'\)", "must be finite and within 1000"),
        ("nan cat", r"character 1 \('nan'\)", "must be a finite number"),
        ("cat - Inf*dog", r"character 7 \('Inf'\)", "must be a finite number"),
        ("500 cat + 501 cat", "the dose of 'cat' is 1001", "keep within 1000"),
        ("0 .8 cat", r"character 3 \('.8'\)", r'"\*" between two doses'),
        ("1 000 cat", r"character 3 \('000'\)", r'"\*" between two doses'),
        ("1e-400 cat", r"character 1 \('1e-400'\)", "too small"),
        ("1e-300*1e-300 cat", r"character 8 \('1e-300'\)", "too small"),
        ("1e-200 (cat * 1e-200)", r"character 1 \('1e-200'\)", "too small"),
        ("1000*1000 cat", "the dose of 'cat' is 1e\\+06", "keep within 1000"),
        ("1000*" * 200 + "cat", "the dose of 'cat' is inf", "finite"),
        ("(" * 51 + "cat" + ")" * 51, r"character 51 \('\('\)", "parentheses"),
        ("(" * 10_000, r"character 51", "parentheses"),
        ("x" * 30_000, "30000 characters", "keep to"),
    ],
)
def test_syntax_errors_name_their_character(expression: str, where: str, why: str) -> None:
    with pytest.raises(InputError, match=where) as caught:
        parse(expression)
    assert len(str(caught.value).splitlines()) == 1
    assert re.search(why, str(caught.value))


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=15) | st.sampled_from(
    [
        "slow-burn",
        "a-",
        "-a",
        "a--b",
        "nan",
        "2",
        ".5x",
        "'",
        '"',
        "''\"",
        "a/b",
        "C:\\x",
        "e5",
        "~",
        "\u2212",
        "(",
        "it's",
    ]
)
doses = st.floats(-MAX_DOSE, MAX_DOSE) | st.integers(-3, 3).map(float)


@given(st.dictionaries(names, doses, min_size=1, max_size=8))
def test_formatted_doses_parse_to_the_same_doses(given_doses: dict[str, float]) -> None:
    written = format_doses(given_doses)
    assert parse(written) == given_doses
    assert list(parse(written)) == list(given_doses)
    assert format_doses(parse(written)) == written


@given(st.text(alphabet="ab-+*() .52e'\"\t/", max_size=30))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        result = parse(text)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert result and all(abs(dose) <= MAX_DOSE for dose in result.values())


terms = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([0.5, 1.0, 2.0, -1.0, 4.0])), min_size=1, max_size=5
)


@given(terms, st.sampled_from([0.5, 2.0, -4.0]))
def test_a_factor_distributes_over_parentheses(pairs: list[tuple[str, float]], factor: float) -> None:
    inner = " + ".join(f"{dose} {name}" for name, dose in pairs)
    alone = parse(inner)
    assert parse(f"{factor}*({inner})") == {name: factor * dose for name, dose in alone.items()}
    assert parse(f"({inner}) * {factor}") == {name: factor * dose for name, dose in alone.items()}
    assert parse(f"zz - ({inner})") == {"zz": 1.0} | {name: -dose for name, dose in alone.items()}


@pytest.mark.parametrize(
    ("given_doses", "why"),
    [({}, "at least one"), ({"": 1.0}, "empty name"), ({"a": float("nan")}, "finite"), ({"a": 1001.0}, "within 1000")],
)
def test_invalid_doses_cannot_be_formatted(given_doses: dict[str, float], why: str) -> None:
    with pytest.raises(InputError, match=why):
        format_doses(given_doses)
