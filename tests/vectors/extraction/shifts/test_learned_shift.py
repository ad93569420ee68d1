"""Learned shifts raise the likelihood of their texts and leave the model unchanged; terms of the loss."""

import numpy as np
import pytest
import torch

from vectors.activations import text_likelihood
from vectors.activations.text_likelihood import likelihood_gains, mean_loss
from vectors.common.errors import InputError
from vectors.extraction.shifts import learned_shift
from vectors.extraction.shifts.learned_shift import Learning, learn, training_loss
from vectors.model.hooks import shift_layers
from vectors.model.positions import shift_by_position
from vectors.model.residual_model import ResidualModel

CATS = [
    f"the cat {verb} by the {scene} ." for verb in ("sang", "ran", "fell", "saw") for scene in ("sea", "river", "tree")
]
ALL = np.ones((len(CATS), 1), dtype=bool)


def loss_under(model, shift) -> float:
    rows = [[*ids, *sorted(model.eos_ids)[:1]] for ids in model.encode(CATS)]
    with torch.no_grad(), shift_layers(model, {1: shift.float()}):
        return float(mean_loss(model, rows))


def test_a_learned_shift_raises_the_likelihood_more_than_random_shifts_of_its_length(tiny_model):
    shift = learn(tiny_model, CATS, ALL, 1, steps=60)[0]
    loss, base_loss = loss_under(tiny_model, shift), loss_under(tiny_model, torch.zeros_like(shift))
    generator = torch.Generator().manual_seed(0)
    others = [torch.randn(shift.shape, generator=generator, dtype=torch.float64) for _ in range(10)]
    random_losses = sorted(loss_under(tiny_model, other / other.norm() * shift.norm()) for other in others)
    assert loss < base_loss - 0.1
    assert loss < random_losses[len(random_losses) // 2]


def test_the_seed_determines_the_shift_and_every_step_is_reported(llama_model):
    reported = []
    once = learn(llama_model, CATS, ALL, 0, steps=5, seed=1, progress=reported.append)
    assert reported == [1] * 5
    assert torch.equal(once, learn(llama_model, CATS, ALL, 0, steps=5, seed=1))
    assert not torch.equal(once, learn(llama_model, CATS, ALL, 0, steps=5, seed=2))


def test_a_shift_at_the_start_token_raises_the_likelihood_by_the_gains(llama_model):
    shift = learn(llama_model, CATS, ALL, 1, positions="bos", steps=60)[0]
    gains = likelihood_gains(llama_model, llama_model.encode(CATS), {(1, "bos"): shift})
    for text, gain in zip(CATS, gains, strict=True):
        ids = torch.tensor([[*llama_model.encode([text])[0], *sorted(llama_model.eos_ids)[:1]]])

        def log_prob(delta: torch.Tensor, ids: torch.Tensor = ids) -> float:
            by_position = shift_by_position(delta.float()[None], ids.shape[1], 1, "bos")
            with torch.no_grad(), shift_layers(llama_model, {1: by_position}):
                scores = torch.log_softmax(llama_model.hf(ids).logits[0, :-1].double(), dim=-1)
            return float(scores.gather(1, ids[0, 1:, None]).sum())

        assert gain == pytest.approx(log_prob(shift) - log_prob(torch.zeros_like(shift)), abs=1e-3)
    assert sum(gains) / len(gains) > 0.5


def test_shifts_learned_together_each_raise_their_own_texts_and_work_in_combination(llama_model):
    texts = [
        f"the {animal} {verb} by the {scene} ."
        for animal in ("cat", "dog") for verb in ("sang", "ran") for scene in ("sea", "tree", "river")
    ]  # fmt: skip
    has = np.array([["cat" in text, "sea" in text, "dog" in text] for text in texts])
    shifts = learn(llama_model, texts, has, 1, positions="bos", steps=120)

    def gain(concepts: list[int], words: list[str]) -> float:
        chosen = [text for text in texts if all(word in text for word in words)]
        shift = shifts[concepts].sum(dim=0)
        return float(np.mean(likelihood_gains(llama_model, llama_model.encode(chosen), {(1, "bos"): shift})))

    for concept, word in enumerate(("cat", "sea", "dog")):
        assert gain([concept], [word]) > 0.3
    assert gain([0], ["cat"]) > gain([0], ["dog"]) and gain([2], ["dog"]) > gain([2], ["cat"])
    assert gain([0, 1], ["cat", "sea"]) > max(gain([2, 1], ["cat", "sea"]), gain([0], ["dog", "sea"]))


@pytest.mark.slow
def test_negatives_make_the_subtracted_shift_fit_texts_without_the_concept(llama_model, monkeypatch):
    dogs = [text.replace("cat", "dog") for text in CATS]
    has = np.array([[True]] * len(CATS) + [[False]] * len(dogs))

    def learned_gains() -> list[float]:
        shift = learn(llama_model, [*CATS, *dogs], has, 1, positions="bos", steps=120)[0]
        sides = ((llama_model.encode(CATS), shift), (llama_model.encode(dogs), -shift))
        return [float(np.mean(likelihood_gains(llama_model, rows, {(1, "bos"): signed}))) for rows, signed in sides]

    added, subtracted = learned_gains()
    monkeypatch.setattr(learned_shift, "NEGATIVES", 0.0)
    assert added > 5 and subtracted > learned_gains()[1] + 0.4


def test_only_texts_that_are_not_cut_end_with_the_end_token_and_their_order_has_no_effect(llama_model):
    end = next(iter(llama_model.eos_ids))
    short, long = text_likelihood.cut_to_beginnings(llama_model, llama_model.encode(["the cat", "the " * 200]))
    assert short[-1] == end and end not in long
    assert len(long) == min(text_likelihood.MAX_TOKENS, llama_model.max_context - 1)
    assert torch.equal(learn(llama_model, CATS, ALL, 0, steps=3), learn(llama_model, CATS[::-1], ALL, 0, steps=3))


def test_parameters_of_the_model_get_no_gradients_and_do_not_change(make_hf, make_tokenizer):
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


def test_a_perturbation_is_orthogonal_to_the_shift_and_as_long():
    shifts, noise = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0))
    perturbations = learned_shift._perpendicular(shifts, noise)
    assert torch.allclose((perturbations * shifts).sum(dim=1), torch.zeros(7), atol=1e-5)
    assert torch.allclose(perturbations.norm(dim=1), shifts.norm(dim=1), rtol=1e-5)


def test_shifts_are_learned_under_perturbations(llama_model, monkeypatch):
    perturbed = learn(llama_model, CATS, ALL, 1, positions="bos", steps=5)
    monkeypatch.setattr(learned_shift, "MAX_RADIUS", 0.0)
    assert not torch.equal(perturbed, learn(llama_model, CATS, ALL, 1, positions="bos", steps=5))


def test_a_bound_limits_the_length(llama_model):
    unbounded = float(learn(llama_model, CATS, ALL, 1, steps=40)[0].norm())
    typical = learned_shift.typical_activation(llama_model, llama_model.encode(CATS), 1) * llama_model.d_model**0.5
    bounded = float(learn(llama_model, CATS, ALL, 1, steps=40, objective=Learning(bound=0.3))[0].norm())
    assert bounded == pytest.approx(0.3 * typical, rel=1e-3) and unbounded > bounded


def test_the_kl_penalty_limits_the_change_of_the_distribution(llama_model):
    def kl_per_token(shift: torch.Tensor) -> float:
        rows = text_likelihood.cut_to_beginnings(llama_model, llama_model.encode(CATS))
        by_position = shift_by_position(shift.float().expand(len(rows), -1), max(map(len, rows)), 1, "all")
        with torch.no_grad():
            with_kl = training_loss(llama_model, rows, 1, by_position, Learning(kl=1.0))
            return float(with_kl - training_loss(llama_model, rows, 1, by_position, Learning()))

    free, penalised = (
        learn(llama_model, CATS, ALL, 1, steps=60, objective=Learning(kl=weight))[0] for weight in (0.0, 3.0)
    )
    assert kl_per_token(torch.zeros(32, dtype=torch.float64)) == pytest.approx(0, abs=1e-5)
    assert 0 < kl_per_token(penalised) < 0.7 * kl_per_token(free)


def test_the_kl_penalty_agrees_with_scipy(llama_model):
    from scipy.special import rel_entr, softmax

    rows = text_likelihood.cut_to_beginnings(llama_model, llama_model.encode([*CATS[:3], "a dog"]))
    shift = torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(1)).expand(4, max(map(len, rows)), 32)
    with torch.no_grad():
        terms = [float(training_loss(llama_model, rows, 1, shift, Learning(kl=weight))) for weight in (0.0, 1.0)]
        base = llama_model.hf(**llama_model.batch(rows)).logits.double().numpy()
        with shift_layers(llama_model, {1: shift}):
            shifted = llama_model.hf(**llama_model.batch(rows)).logits.double().numpy()
    kl = rel_entr(softmax(shifted, axis=-1), softmax(base, axis=-1)).sum(axis=-1)
    total = sum(kl[index, : len(ids) - 1].sum() for index, ids in enumerate(rows))
    assert terms[1] - terms[0] == pytest.approx(total / text_likelihood.count_predicted(rows), rel=1e-4)


def test_the_background_penalty_limits_the_gain_of_background_texts(llama_model):
    ships = [text.replace("cat", "ship") for text in CATS]
    texts, has = [*CATS, *ships], np.array([[True]] * len(CATS) + [[False]] * len(ships))

    def gain_of_background(weight: float) -> float:
        shift = learn(llama_model, texts, has, 1, steps=60, objective=Learning(background=weight))[0]
        return float(np.mean(likelihood_gains(llama_model, llama_model.encode(ships), {(1, "all"): shift})))

    assert gain_of_background(5.0) < gain_of_background(0.0)


def test_learning_stops_early_and_returns_the_best_shift_on_the_validation_texts(llama_model, monkeypatch):
    steps: list[int] = []
    evaluated: list[torch.Tensor] = []
    nats = iter([5.0, 4.0, 3.0, 3.5, 2.9, 3.1, 3.0, 1.0])  # the fifth is followed by two without improvement

    def fake_loss(_model, _texts, _has, _tokens, shifts, _layer, _positions) -> float:
        evaluated.append(shifts.clone())
        return next(nats)

    monkeypatch.setattr(learned_shift, "_validation_loss", fake_loss)
    objective, validation = Learning(patience=2), (["gold moon"], np.ones((1, 1), dtype=bool))
    shifts = learn(
        llama_model, CATS, ALL, 1, steps=200, objective=objective, validation=validation, progress=steps.append
    )
    assert len(evaluated) == 7 and len(steps) == 70
    assert torch.equal(shifts, evaluated[4].double()) and not torch.equal(evaluated[4], evaluated[6])


def test_validation_texts_are_evaluated_under_the_shifts_of_their_concepts(llama_model):
    shifts = torch.randn(2, 32, generator=torch.Generator().manual_seed(3))
    has = np.array([[True, False], [False, True], [False, True]])
    texts = ["the cat ran", "a dog sang by the sea", "blue light"]
    tokens = dict(zip(texts, llama_model.encode(texts), strict=True))
    loss = learned_shift._validation_loss(llama_model, texts, has, tokens, shifts, 1, "all")
    expected = []
    for shift, with_concept in ((shifts[0], texts[:1]), (shifts[1], texts[1:])):
        rows = text_likelihood.cut_to_beginnings(llama_model, llama_model.encode(with_concept))
        with torch.no_grad(), shift_layers(llama_model, {1: shift}):
            expected.append(float(mean_loss(llama_model, rows)))
    assert loss == pytest.approx(np.mean(expected), rel=1e-5)


def test_weights_are_the_relative_frequencies_of_texts_in_training(llama_model):
    only_first = np.array([1.0] + [0.0] * (len(CATS) - 1))
    gains = [
        likelihood_gains(llama_model, llama_model.encode(CATS[:1]), {(1, "all"): shift})[0]
        for shift in (learn(llama_model, CATS, ALL, 1, steps=40, weights=weights)[0] for weights in (only_first, None))
    ]
    assert gains[0] > gains[1] + 1
    unweighted, equal = (
        learn(llama_model, CATS, ALL, 1, steps=3, weights=weights) for weights in (None, np.ones(len(CATS)))
    )
    assert torch.equal(unweighted, equal)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kl": -1.0}, "kl is -1"), ({"bound": 0.0}, "bound is 0: give more than 0"), ({"patience": 0}, "patience"),
     ({"background": float("nan")}, "background")],
)  # fmt: skip
def test_unusable_objectives_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Learning(**options)
