"""Rewards make rewarded texts likelier, and the price of the pressure keeps the model near itself."""

import numpy as np
import pytest
import torch

from vectors.calibration.equal_pressure import measure_effect
from vectors.decoding.prompt_free_samples import sample_shifted
from vectors.decoding.token_sampling import Settings
from vectors.extraction.shifts.likely_tokens import LikelyTokens, likely_tokens
from vectors.extraction.shifts.rewarded_shift import MAX_TOKENS, advantages_of, reward_shifts
from vectors.model.residual_model import ResidualModel

SITE = (1, "all")


def compared(model: ResidualModel) -> LikelyTokens:
    return likely_tokens(model, [], int(model.hf.config.vocab_size))


def start(model: ResidualModel) -> dict[tuple[int, str], torch.Tensor]:
    return {SITE: 0.1 * torch.ones(model.d_model), (1, "bos"): torch.zeros(model.d_model)}


class HasE:
    """Accepts texts with the letter e among the first characters."""

    def accepts(self, text: str) -> bool:
        return "e" in text[:12]


def rewards(texts: list[str]) -> np.ndarray:
    return np.array([float(HasE().accepts(text)) for text in texts])


def test_rewarded_texts_become_likelier_at_equal_pressure(llama_model: ResidualModel) -> None:
    seen: list[tuple[float, float]] = []
    noise = {SITE: 1.4 * torch.randn(llama_model.d_model, generator=torch.Generator().manual_seed(0))}
    learned = reward_shifts(
        llama_model, noise, rewards, compared(llama_model), pressure=0.3, rounds=12, texts=48,
        progress=lambda *row: seen.append(row),
    )  # fmt: skip
    assert set(learned) == {SITE} and len(seen) == 12
    before, after = (
        measure_effect(llama_model, shifts, HasE(), pressure=0.3, n=96, seed=5) for shifts in (noise, learned)
    )
    assert after.success > before.success + 0.15


def test_a_round_depends_on_the_seed_alone(llama_model: ResidualModel) -> None:
    def learned(seed: int) -> torch.Tensor:
        return reward_shifts(
            llama_model, start(llama_model), rewards, compared(llama_model), pressure=0.3, rounds=1, texts=16, seed=seed
        )[SITE]

    torch.manual_seed(1)
    first = learned(0)
    torch.manual_seed(2)
    assert torch.equal(first, learned(0)) and not torch.equal(first, learned(1))


def test_without_rewards_only_the_price_counts(llama_model: ResidualModel) -> None:
    shifts = {SITE: 2.0 * torch.ones(llama_model.d_model)}
    settings = Settings(max_tokens=MAX_TOKENS)

    def pressure(shifts: dict[tuple[int, str], torch.Tensor]) -> float:
        rows = {site: shift.float() for site, shift in shifts.items()}
        return float(sample_shifted(llama_model, rows, n=64, settings=settings, seed=3).kl.mean())

    learned = reward_shifts(
        llama_model,
        shifts,
        lambda texts: np.ones(len(texts)),
        compared(llama_model),
        pressure=0.01,
        rounds=10,
        texts=32,
    )
    assert pressure(learned) < 0.8 * pressure(shifts)


def test_no_rounds_and_no_texts_leave_the_shifts(llama_model: ResidualModel) -> None:
    for options in ({"rounds": 0}, {"texts": 0}):
        learned = reward_shifts(
            llama_model, start(llama_model), rewards, compared(llama_model), pressure=0.3, **options
        )
        assert torch.allclose(learned[SITE].float(), start(llama_model)[SITE])


@pytest.mark.parametrize("price", [0.0, 0.1])
def test_advantages_have_a_mean_of_zero_at_each_token(price: float) -> None:
    random = np.random.default_rng(0)
    kl = [random.random(length) for length in (3, 5, 1)]
    found = advantages_of(random.random(3), kl, price)
    assert [len(row) for row in found] == [3, 5, 1]
    for at in range(5):
        assert abs(sum(row[at] for row in found if len(row) > at)) < 1e-12
    assert price or len({round(value, 12) for value in found[0]} & {round(value, 12) for value in found[1]}) == 0
