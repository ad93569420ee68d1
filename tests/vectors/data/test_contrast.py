"""Contrast sets refuse unusable texts, and are split without a text in both parts."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vectors.common.errors import InputError
from vectors.data.contrast import ContrastSet, is_held_out

texts = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).map(str.strip).filter(bool)
)
many = st.lists(texts, min_size=2, max_size=20, unique=True)


@pytest.mark.parametrize(
    ("positive", "background", "message"),
    [
        ((), ("a",), "positive is empty"),
        (("a",), (), "background is empty"),
        ((), (), "positive is empty"),
        (("a", " "), ("b",), "text 1 of positive"),
        (("a",), ("b", "\ud800"), "text 1 of background holds half of a surrogate pair"),
        (("a", "b"), ("b", "a"), "same texts"),
    ],
)
def test_one_sided_and_blank_sets_are_refused(
    positive: tuple[str, ...], background: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ContrastSet(positive=positive, background=background)


@given(many, many, st.floats(0.01, 0.99), st.integers(0, 100))
def test_a_split_divides_each_side(positive: list[str], background: list[str], share: float, seed: int) -> None:
    assume(set(positive) != set(background))
    whole = ContrastSet(positive=tuple(positive), background=tuple(background))
    try:
        fit, out = whole.split(held_out=share, seed=seed)
    except InputError as error:  # the parts of two sides may happen to hold the same texts
        assert "same texts" in str(error)
        return
    for side in ("positive", "background"):
        fit_texts, held = set(getattr(fit, side)), set(getattr(out, side))
        assert fit_texts and held and not fit_texts & held
        assert fit_texts | held == set(getattr(whole, side))
        alone = {text for text in fit_texts | held if is_held_out(text, share=share, seed=seed)}
        assert held == alone if 0 < len(alone) < len(fit_texts | held) else min(len(held), len(fit_texts)) == 1


def test_about_the_given_share_is_held_out() -> None:
    for share in (0.1, 0.25, 0.9):
        assert sum(is_held_out(str(at), share=share, seed=3) for at in range(4000)) / 4000 == pytest.approx(
            share, abs=0.03
        )


def test_a_split_follows_the_seed_not_the_order() -> None:
    a, b = tuple(f"a{i}" for i in range(40)), tuple(f"b{i}" for i in range(40))
    first = ContrastSet(positive=a, background=b).split(seed=1)[1]
    assert set(ContrastSet(positive=a[::-1], background=b).split(seed=1)[1].positive) == set(first.positive)
    assert set(ContrastSet(positive=a, background=b).split(seed=2)[1].positive) != set(first.positive)


def test_copies_of_a_text_are_not_split_apart() -> None:
    both = ContrastSet(positive=("a", "b", "a", "b", "a"), background=("c", "d"))
    fit, out = both.split()
    assert len(set(fit.positive)) == len(set(out.positive)) == 1
    with pytest.raises(InputError, match="positive has 1 different text"):
        ContrastSet(positive=("a", "a"), background=("c", "d")).split()


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_shares_outside_zero_and_one_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="held_out"):
        ContrastSet(positive=("a", "b"), background=("c", "d")).split(held_out=share)


@given(many, many)
def test_the_hash_is_of_the_texts_and_their_sides(positive: list[str], background: list[str]) -> None:
    assume(set(positive) != set(background))
    one = ContrastSet(positive=tuple(positive), background=tuple(background))
    assert one.hash == ContrastSet(positive=tuple(positive[::-1]), background=tuple(background)).hash
    assert one.hash != ContrastSet(positive=tuple(background), background=tuple(positive)).hash
    assert one.hash != ContrastSet(positive=(*positive, positive[0]), background=tuple(background)).hash


def test_the_hash_depends_on_where_texts_end() -> None:
    assert (
        ContrastSet(positive=("ab", "c"), background=("d",)).hash
        != ContrastSet(positive=("a", "bc"), background=("d",)).hash
    )


def test_pairs_stay_together(tmp_path_factory: pytest.TempPathFactory) -> None:
    pairs = [(f"wild {at}", f"calm {at % 7}") for at in range(40)]
    whole = ContrastSet([one for one, _ in pairs], [other for _, other in pairs], paired=True)
    for part in whole.split(held_out=0.3, seed=2):
        assert part.paired and set(zip(part.positive, part.background, strict=True)) <= set(pairs)
    turned = ContrastSet([*whole.positive[1:], whole.positive[0]], whole.background, paired=True)
    assert len({whole.hash, turned.hash, ContrastSet(whole.positive, whole.background).hash}) == 3
    again = ContrastSet(whole.positive[::-1], whole.background[::-1], paired=True)
    assert again.hash == whole.hash
    with pytest.raises(InputError, match="2 positive and 1 background texts, which are no pairs"):
        ContrastSet(["a", "b"], ["c"], paired=True)


def test_weights_belong_to_texts_and_follow_them_in_a_split() -> None:
    whole = ContrastSet(["a", "b", "c"], ["d", "e", "f"], weights={"a": 2.0, "f": 0.5})
    assert whole.hash != ContrastSet(["a", "b", "c"], ["d", "e", "f"]).hash
    fit, out = whole.split(held_out=0.4, seed=1)
    assert fit.weights | out.weights == whole.weights and not fit.weights.keys() & out.weights.keys()
    for weights, message in (
        ({"z": 1.0}, "none of the texts"),
        ({"a": -1.0}, "give 0 or more"),
        ({"a": float("nan")}, "the weight of 'a'"),
        ({"a": 0.0, "b": 0.0, "c": 0.0}, "every positive text has weight 0"),
        ([1.0], "a mapping from texts to numbers"),
    ):
        with pytest.raises(InputError, match=message):
            ContrastSet(["a", "b", "c"], ["d", "e", "f"], weights=weights)
