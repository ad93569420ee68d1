"""A learned shift raises the likelihood of its texts, and leaves the model as it was."""

import numpy as np
import pytest
import torch

from vectors import learned
from vectors.errors import InputError
from vectors.learned import _loss, gains, learn
from vectors.positions import on_positions
from vectors.residual import shifted

CATS = [
    f"the cat {verb} by the {place} ." for verb in ("sang", "ran", "fell", "saw") for place in ("sea", "river", "tree")
]


ALL = np.ones((len(CATS), 1), dtype=bool)


def loss_under(model, shift) -> float:
    rows = [[*ids, *sorted(model.eos_ids)[:1]] for ids in model.encode(CATS)]
    with torch.no_grad(), shifted(model, {1: shift.float()}):
        return float(_loss(model, rows))


def test_it_raises_the_likelihood_more_than_chance_directions_of_its_length(tiny_model):
    shift = learn(tiny_model, CATS, ALL, 1, steps=60)[0]
    learned, without = loss_under(tiny_model, shift), loss_under(tiny_model, torch.zeros_like(shift))
    generator = torch.Generator().manual_seed(0)
    others = [torch.randn(shift.shape, generator=generator, dtype=torch.float64) for _ in range(10)]
    chance = sorted(loss_under(tiny_model, other / other.norm() * shift.norm()) for other in others)
    assert learned < without - 0.1
    assert learned < chance[len(chance) // 2]


def test_the_seed_decides_and_steps_are_counted(llama_model):
    seen = []
    once = learn(llama_model, CATS, ALL, 0, steps=5, seed=1, progress=seen.append)
    assert seen == [1] * 5
    assert torch.equal(once, learn(llama_model, CATS, ALL, 0, steps=5, seed=1))
    assert not torch.equal(once, learn(llama_model, CATS, ALL, 0, steps=5, seed=2))


def test_at_the_start_token_it_raises_the_likelihood_too_and_gains_say_by_how_much(llama_model):
    shift = learn(llama_model, CATS, ALL, 1, positions="bos", steps=60)[0]
    found = gains(llama_model, CATS, layer=1, shift=shift, positions="bos")
    for text, gain in zip(CATS, found, strict=True):
        ids = torch.tensor([[*llama_model.encode([text])[0], *sorted(llama_model.eos_ids)[:1]]])

        def log_prob(delta: torch.Tensor, ids: torch.Tensor = ids) -> float:
            spread = on_positions(delta.float()[None], ids.shape[1], 1, "bos")
            with torch.no_grad(), shifted(llama_model, {1: spread}):
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
        return float(np.mean(gains(llama_model, chosen, layer=1, shift=shift, positions="bos")))

    for concept, word in enumerate(("cat", "sea", "dog")):
        assert gain([concept], [word]) > 0.3
    assert gain([0], ["cat"]) > gain([0], ["dog"]) and gain([2], ["dog"]) > gain([2], ["cat"])
    assert gain([0, 1], ["cat", "sea"]) > max(gain([2, 1], ["cat", "sea"]), gain([0], ["dog", "sea"]))


def test_a_shift_taken_away_fits_texts_without_the_concept_better_for_having_learned_it(llama_model, monkeypatch):
    dogs = [text.replace("cat", "dog") for text in CATS]
    has = np.array([[True]] * len(CATS) + [[False]] * len(dogs))

    def learned_gains() -> list[float]:
        shift = learn(llama_model, [*CATS, *dogs], has, 1, positions="bos", steps=120)[0]
        both = ((CATS, shift), (dogs, -shift))
        return [float(np.mean(gains(llama_model, some, layer=1, shift=way, positions="bos"))) for some, way in both]

    told, denied = learned_gains()
    monkeypatch.setattr(learned, "DENIED", 0.0)
    assert told > 5 and denied > learned_gains()[1] + 0.4


def test_only_whole_texts_close_with_the_end_token_and_order_means_nothing(llama_model):
    end = next(iter(llama_model.eos_ids))
    short, long = learned._rows(llama_model, ["the cat", "the " * 200])
    assert short[-1] == end and end not in long and len(long) == min(learned.MAX_TOKENS, llama_model.max_context - 1)
    assert torch.equal(learn(llama_model, CATS, ALL, 0, steps=3), learn(llama_model, CATS[::-1], ALL, 0, steps=3))


def test_weights_keep_neither_gradients_nor_changes(make_hf, make_tokenizer):
    from vectors.model import ResidualModel

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
    found = learned.composed(torch.from_numpy(shifts), torch.from_numpy(told))
    for row, signs in zip(found.numpy(), told, strict=True):
        chosen = signs != 0
        lengths = np.linalg.norm(shifts[chosen], axis=1)
        asked = signs[chosen] * lengths
        expected = np.linalg.lstsq(shifts[chosen] / lengths[:, None], asked)[0] if chosen.any() else np.zeros(12)
        assert np.allclose(row, expected, rtol=1e-2, atol=1e-2)


def test_a_push_is_at_right_angles_to_the_shift_and_as_long():
    shifts, drawn = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0))
    pushes = learned._outward(shifts, drawn)
    assert torch.allclose((pushes * shifts).sum(dim=1), torch.zeros(7), atol=1e-5)
    assert torch.allclose(pushes.norm(dim=1), shifts.norm(dim=1), rtol=1e-5)


def test_pushes_are_part_of_learning(llama_model, monkeypatch):
    pushed = learn(llama_model, CATS, ALL, 1, positions="bos", steps=5)
    monkeypatch.setattr(learned, "SEARCHED", 0.0)
    assert not torch.equal(pushed, learn(llama_model, CATS, ALL, 1, positions="bos", steps=5))
