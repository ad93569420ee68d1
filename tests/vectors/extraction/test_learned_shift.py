"""A learned shift raises the likelihood of its texts, and leaves the model as it was."""

import numpy as np
import pytest
import torch

from vectors.activations import text_likelihood
from vectors.activations.text_likelihood import likelihood_gains, mean_loss
from vectors.common.errors import InputError
from vectors.extraction import learned_shift
from vectors.extraction.learned_shift import Learning, learn, training_loss
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position

CATS = [
    f"the cat {verb} by the {place} ." for verb in ("sang", "ran", "fell", "saw") for place in ("sea", "river", "tree")
]


ALL = np.ones((len(CATS), 1), dtype=bool)


def loss_under(model, shift) -> float:
    rows = [[*ids, *sorted(model.eos_ids)[:1]] for ids in model.encode(CATS)]
    with torch.no_grad(), shift_layers(model, {1: shift.float()}):
        return float(mean_loss(model, rows))


def test_it_raises_the_likelihood_more_than_chance_directions_of_its_length(tiny_model):
    shift = learn(tiny_model, CATS, ALL, 1, steps=60)[0]
    learned_shift, without = loss_under(tiny_model, shift), loss_under(tiny_model, torch.zeros_like(shift))
    generator = torch.Generator().manual_seed(0)
    others = [torch.randn(shift.shape, generator=generator, dtype=torch.float64) for _ in range(10)]
    chance = sorted(loss_under(tiny_model, other / other.norm() * shift.norm()) for other in others)
    assert learned_shift < without - 0.1
    assert learned_shift < chance[len(chance) // 2]


def test_the_seed_decides_and_steps_are_counted(llama_model):
    seen = []
    once = learn(llama_model, CATS, ALL, 0, steps=5, seed=1, progress=seen.append)
    assert seen == [1] * 5
    assert torch.equal(once, learn(llama_model, CATS, ALL, 0, steps=5, seed=1))
    assert not torch.equal(once, learn(llama_model, CATS, ALL, 0, steps=5, seed=2))


def test_at_the_start_token_it_raises_the_likelihood_too_and_gains_say_by_how_much(llama_model):
    shift = learn(llama_model, CATS, ALL, 1, positions="bos", steps=60)[0]
    found = likelihood_gains(llama_model, llama_model.encode(CATS), layer=1, shift=shift, positions="bos")
    for text, gain in zip(CATS, found, strict=True):
        ids = torch.tensor([[*llama_model.encode([text])[0], *sorted(llama_model.eos_ids)[:1]]])

        def log_prob(delta: torch.Tensor, ids: torch.Tensor = ids) -> float:
            spread = shift_by_position(delta.float()[None], ids.shape[1], 1, "bos")
            with torch.no_grad(), shift_layers(llama_model, {1: spread}):
                scores = torch.log_softmax(llama_model.hf(ids).logits[0, :-1].double(), dim=-1)
            return float(scores.gather(1, ids[0, 1:, None]).sum())

        assert gain == pytest.approx(log_prob(shift) - log_prob(torch.zeros_like(shift)), abs=1e-3)
    assert sum(found) / len(found) > 0.5


def test_concepts_learned_together_each_raise_their_own_texts_and_add_up(llama_model):
    texts = [
        f"the {who} {does} by the {place} ."
        for who in ("cat", "dog") for does in ("sang", "ran") for place in ("sea", "tree", "river")
    ]  # fmt: skip
    has = np.array([["cat" in text, "sea" in text, "dog" in text] for text in texts])
    shifts = learn(llama_model, texts, has, 1, positions="bos", steps=120)

    def gain(told: list[int], words: list[str]) -> float:
        chosen = [text for text in texts if all(word in text for word in words)]
        shift = shifts[told].sum(dim=0)
        return float(
            np.mean(likelihood_gains(llama_model, llama_model.encode(chosen), layer=1, shift=shift, positions="bos"))
        )

    for concept, word in enumerate(("cat", "sea", "dog")):
        assert gain([concept], [word]) > 0.3
    assert gain([0], ["cat"]) > gain([0], ["dog"]) and gain([2], ["dog"]) > gain([2], ["cat"])
    assert gain([0, 1], ["cat", "sea"]) > max(gain([2, 1], ["cat", "sea"]), gain([0], ["dog", "sea"]))


@pytest.mark.slow
def test_a_shift_taken_away_fits_texts_without_the_concept_better_for_having_learned_it(llama_model, monkeypatch):
    dogs = [text.replace("cat", "dog") for text in CATS]
    has = np.array([[True]] * len(CATS) + [[False]] * len(dogs))

    def learned_gains() -> list[float]:
        shift = learn(llama_model, [*CATS, *dogs], has, 1, positions="bos", steps=120)[0]
        both = ((llama_model.encode(CATS), shift), (llama_model.encode(dogs), -shift))
        return [
            float(np.mean(likelihood_gains(llama_model, rows, layer=1, shift=way, positions="bos")))
            for rows, way in both
        ]

    added, subtracted = learned_gains()
    monkeypatch.setattr(learned_shift, "NEGATIVES", 0.0)
    assert added > 5 and subtracted > learned_gains()[1] + 0.4


def test_only_whole_texts_close_with_the_end_token_and_order_means_nothing(llama_model):
    end = next(iter(llama_model.eos_ids))
    short, long = text_likelihood.cut_to_beginnings(llama_model, llama_model.encode(["the cat", "the " * 200]))
    assert (
        short[-1] == end
        and end not in long
        and len(long) == min(text_likelihood.MAX_TOKENS, llama_model.max_context - 1)
    )
    assert torch.equal(learn(llama_model, CATS, ALL, 0, steps=3), learn(llama_model, CATS[::-1], ALL, 0, steps=3))


def test_weights_keep_neither_gradients_nor_changes(make_hf, make_tokenizer):
    from vectors.model.residual_model import ResidualModel

    hf = make_hf("llama").requires_grad_(True)
    model = ResidualModel(hf, make_tokenizer())
    before = {name: weight.detach().clone() for name, weight in hf.named_parameters()}
    learn(model, CATS, ALL, 1, steps=3)
    for name, weight in hf.named_parameters():
        assert weight.grad is None and weight.requires_grad
        assert torch.equal(weight, before[name])


def test_a_layer_out_of_range_is_refused(llama_model):
    with pytest.raises(InputError, match="layers 0 to 2"):
        learn(llama_model, CATS, ALL, 3)


def test_composed_shifts_are_the_smallest_with_the_projections_of_their_own():
    random = np.random.default_rng(0)
    shifts, told = random.standard_normal((5, 12)) * random.uniform(1, 9, (5, 1)), random.integers(-1, 2, (20, 5))
    found = learned_shift.compose_shifts(torch.from_numpy(shifts), torch.from_numpy(told))
    for row, signs in zip(found.numpy(), told, strict=True):
        chosen = signs != 0
        lengths = np.linalg.norm(shifts[chosen], axis=1)
        asked = signs[chosen] * lengths
        expected = np.linalg.lstsq(shifts[chosen] / lengths[:, None], asked)[0] if chosen.any() else np.zeros(12)
        assert np.allclose(row, expected, rtol=1e-2, atol=1e-2)


def test_a_push_is_at_right_angles_to_the_shift_and_as_long():
    shifts, drawn = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0))
    pushes = learned_shift._perpendicular(shifts, drawn)
    assert torch.allclose((pushes * shifts).sum(dim=1), torch.zeros(7), atol=1e-5)
    assert torch.allclose(pushes.norm(dim=1), shifts.norm(dim=1), rtol=1e-5)


def test_pushes_are_part_of_learning(llama_model, monkeypatch):
    pushed = learn(llama_model, CATS, ALL, 1, positions="bos", steps=5)
    monkeypatch.setattr(learned_shift, "MAX_RADIUS", 0.0)
    assert not torch.equal(pushed, learn(llama_model, CATS, ALL, 1, positions="bos", steps=5))


def test_a_bound_holds_the_length(llama_model):
    free = float(learn(llama_model, CATS, ALL, 1, steps=40)[0].norm())
    typical = learned_shift.typical_activation(llama_model, llama_model.encode(CATS), 1) * llama_model.d_model**0.5
    held = float(learn(llama_model, CATS, ALL, 1, steps=40, objective=Learning(bound=0.3))[0].norm())
    assert held == pytest.approx(0.3 * typical, rel=1e-3) and free > held


def test_changing_little_costs_likelihood(llama_model):
    def changed(shift: torch.Tensor) -> float:
        rows = text_likelihood.cut_to_beginnings(llama_model, llama_model.encode(CATS))
        spread = shift_by_position(shift.float().expand(len(rows), -1), max(map(len, rows)), 1, "all")
        with torch.no_grad():
            with_kl = training_loss(llama_model, rows, 1, spread, Learning(kl=1.0))
            return float(with_kl - training_loss(llama_model, rows, 1, spread, Learning()))

    free, calm = (learn(llama_model, CATS, ALL, 1, steps=60, objective=Learning(kl=weight))[0] for weight in (0.0, 3.0))
    assert changed(torch.zeros(32, dtype=torch.float64)) == pytest.approx(0, abs=1e-5)
    assert 0 < changed(calm) < 0.7 * changed(free)


def test_the_kl_term_is_that_of_scipy(llama_model):
    from scipy.special import rel_entr, softmax

    rows = text_likelihood.cut_to_beginnings(llama_model, llama_model.encode([*CATS[:3], "a dog"]))
    shift = torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(1)).expand(4, max(map(len, rows)), 32)
    with torch.no_grad():
        terms = [float(training_loss(llama_model, rows, 1, shift, Learning(kl=weight))) for weight in (0.0, 1.0)]
        base = text_likelihood.losses_and_logits(llama_model, rows)[1].double().numpy()
        with shift_layers(llama_model, {1: shift}):
            moved = text_likelihood.losses_and_logits(llama_model, rows)[1].double().numpy()
    every = rel_entr(softmax(moved, axis=-1), softmax(base, axis=-1)).sum(axis=-1)
    real = [every[row, : len(ids) - 1].sum() for row, ids in enumerate(rows)]
    assert terms[1] - terms[0] == pytest.approx(sum(real) / text_likelihood.count_predicted(rows), rel=1e-4)


def test_background_texts_are_not_raised_along(llama_model):
    ships = [text.replace("cat", "ship") for text in CATS]
    texts, has = [*CATS, *ships], np.array([[True]] * len(CATS) + [[False]] * len(ships))

    def raised_by(weight: float) -> float:
        shift = learn(llama_model, texts, has, 1, steps=60, objective=Learning(background=weight))[0]
        return float(
            np.mean(likelihood_gains(llama_model, llama_model.encode(ships), layer=1, shift=shift, positions="all"))
        )

    assert raised_by(5.0) < raised_by(0.0)


def test_learning_ends_where_texts_kept_aside_gain_no_more(llama_model, monkeypatch):
    told: list[int] = []
    looks: list[torch.Tensor] = []
    nats = iter([5.0, 4.0, 3.0, 3.5, 2.9, 3.1, 3.0, 1.0])  # after the fifth look, two are no better

    def scripted(_model, _texts, _has, _tokens, shifts, _layer, _positions) -> float:
        looks.append(shifts.clone())
        return next(nats)

    monkeypatch.setattr(learned_shift, "_validation_loss", scripted)
    objective, validation = Learning(patience=2), (["gold moon"], np.ones((1, 1), dtype=bool))
    found = learn(
        llama_model, CATS, ALL, 1, steps=200, objective=objective, validation=validation, progress=told.append
    )
    assert len(looks) == 7 and len(told) == 70
    assert torch.equal(found, looks[4].double()) and not torch.equal(looks[4], looks[6])


def test_texts_kept_aside_are_measured_under_the_shift_of_what_they_have(llama_model):
    shifts = torch.randn(2, 32, generator=torch.Generator().manual_seed(3))
    has = np.array([[True, False], [False, True], [False, True]])
    texts = ["the cat ran", "a dog sang by the sea", "blue light"]
    tokens = dict(zip(texts, llama_model.encode(texts), strict=True))
    measured = learned_shift._validation_loss(llama_model, texts, has, tokens, shifts, 1, "all")
    each = []
    for shift, some in ((shifts[0], texts[:1]), (shifts[1], texts[1:])):
        with torch.no_grad(), shift_layers(llama_model, {1: shift}):
            each.append(
                float(mean_loss(llama_model, text_likelihood.cut_to_beginnings(llama_model, llama_model.encode(some))))
            )
    assert measured == pytest.approx(np.mean(each), rel=1e-5)


def test_weights_say_how_often_a_text_is_drawn(llama_model):
    few = np.array([1.0] + [0.0] * (len(CATS) - 1))
    gained = [
        likelihood_gains(llama_model, llama_model.encode(CATS[:1]), layer=1, shift=shift, positions="all")[0]
        for shift in (learn(llama_model, CATS, ALL, 1, steps=40, weights=weights)[0] for weights in (few, None))
    ]
    assert gained[0] > gained[1] + 1
    same = [learn(llama_model, CATS, ALL, 1, steps=3, weights=weights) for weights in (None, np.ones(len(CATS)))]
    assert torch.equal(*same)


@pytest.mark.parametrize(
    ("options", "why"),
    [({"kl": -1.0}, "kl is -1"), ({"bound": 0.0}, "bound is 0: give more than 0"), ({"patience": 0}, "patience"),
     ({"background": float("nan")}, "background")],
)  # fmt: skip
def test_useless_aims_are_refused(options, why):
    with pytest.raises(InputError, match=why):
        Learning(**options)
