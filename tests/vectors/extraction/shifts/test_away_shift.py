"""Shifts that take a concept away: what they are learned to predict, and what they do to a concept that is known."""

import pytest
import torch

import vectors
from vectors.almanac.world import oracle
from vectors.common.statistics import wilson
from vectors.concepts.vector import ConceptVector
from vectors.decoding.prompted_samples import text_states
from vectors.extraction.shifts.away_shift import LEAST_SHARE, chosen_row, learn_away, with_away_shifts
from vectors.extraction.shifts.distilled_shift import steered_states
from vectors.model.output_head import logits_from
from vectors.model.residual_model import ResidualModel


def concept(model: ResidualModel, scale: float = 4.0) -> ConceptVector:
    row = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    return ConceptVector(
        name="sea", model=model.name, model_hash=model.hash, layer=1, direction=row / row.norm(),
        mean=torch.zeros(model.d_model), gap=scale, unit=scale, method="distilled", positions="all",
    )  # fmt: skip


def test_the_first_token_comes_nearer_to_the_plain_distribution_without_the_concept(llama_model: ResidualModel) -> None:
    vector, share = concept(llama_model), 0.4
    texts = [row[1:] for row in llama_model.encode(["the cat sat", "a storm fell", "the man", "a cat and the sea"] * 4)]
    away = learn_away(llama_model, vector, texts, share, steps=60)
    assert set(away) == {(1, "all")}

    def first(shifts: dict[tuple[int, str], torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            states = steered_states(llama_model, [list(texts[0])], shifts)
            return logits_from(llama_model, states)[0].double().log_softmax(-1)

    plain = logits_from(llama_model, text_states(llama_model, [(llama_model.start_ids(), texts[0])]))[0]
    plain = plain.detach().double().log_softmax(-1)
    wanted = (plain.exp() - share * first({(1, "all"): vector.direction * 4}).exp()).clamp(min=1e-4)
    wanted = wanted / wanted.sum()
    distance = [
        float((wanted * (wanted.log() - found)).sum())
        for found in (plain, first({site: row.float() for site, row in away.items()}))
    ]
    assert distance[1] < 0.6 * distance[0]


class Rare:
    def accepts(self, text: str) -> bool:
        return False


def test_nothing_is_learned_of_a_concept_that_the_model_hardly_writes(llama_model: ResidualModel) -> None:
    vector = concept(llama_model)
    assert LEAST_SHARE > 0 and with_away_shifts(llama_model, vector, Rare()) is vector


def row(scale: float, share: float, pressure: float = 0.1, n: int = 40) -> dict[str, float]:
    low, high = wilson(round(share * n), n)
    return {"scale": scale, "share": share, "low": low, "high": high, "pressure": pressure, "n": n}


def test_the_smallest_scale_that_halves_the_share_is_chosen_and_no_accident() -> None:
    plain = row(0.0, 0.4, 0.0)
    assert chosen_row(plain, [row(1.0, 0.3), row(1.4, 0.2), row(2.0, 0.1)]) == row(1.4, 0.2)
    assert chosen_row(plain, [row(1.0, 0.35), row(1.4, 0.3)]) is None  # 0.3 lies within the scatter of 40 texts
    assert chosen_row(plain, [row(1.0, 0.35, n=400), row(1.4, 0.3, n=400)]) == row(1.4, 0.3, n=400)
    assert chosen_row(plain, [row(1.0, 0.1, pressure=0.9)]) is None


@pytest.mark.slow
def test_at_dose_minus_one_dusk_shows_at_most_half_as_often() -> None:
    class Oracle:
        def accepts(self, text: str) -> bool:
            return oracle.read(text).hour == "dusk"

    model = vectors.load_model(device="cpu")
    vector = with_away_shifts(model, vectors.load("dusk", model), Oracle(), n=128, max_tokens=128)
    record = vector.evidence["away"]
    assert record["plain"]["share"] > 0.2 and record["chosen"]["share"] <= 0.5 * record["plain"]["share"]
