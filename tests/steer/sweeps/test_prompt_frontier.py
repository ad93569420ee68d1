"""Doses, prompts and both have the pressure of plain forwards, and each way has its row."""

import json
from pathlib import Path

import pytest
import torch

import steer
from steer.judges.judge import FunctionJudge
from steer.sweeps.prompt_frontier import prompt_frontier
from vectors.common.errors import InputError
from vectors.concepts.vector import ConceptVector
from vectors.decoding.prompted_samples import example_prompts, sample_prompted
from vectors.model.residual_model import ResidualModel

EXAMPLES = [f"the {word} by the sea" for word in ("cat", "dog", "king", "ship", "bird", "stone", "wind")]
JUDGE = FunctionJudge("sea", lambda text: "sea" in text)


def concept(model: ResidualModel) -> ConceptVector:
    row = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    return ConceptVector(
        name="sea", model=model.name, model_hash=model.hash, layer=1, direction=row / row.norm(),
        mean=torch.zeros(model.d_model), gap=2.0, method="mean-difference", positions="all",
        other_shifts={(0, "bos"): row / 9},
    )  # fmt: skip


def test_every_way_has_a_row_with_intervals(llama_model: ResidualModel, tmp_path: Path) -> None:
    seen: list[str] = []
    found = prompt_frontier(
        llama_model, concept(llama_model), [JUDGE], EXAMPLES, doses=(0, 1), shots=(1, 3), n=12, max_tokens=8,
        watcher=lambda row: seen.append(row.label),
    )  # fmt: skip
    assert seen == [
        "dose 0", "dose 1", "prompt of 1", "prompt of 3", "prompt of 1 and dose 0.5", "prompt of 3 and dose 0.5",
    ]  # fmt: skip
    plain, steered, *_ = found.rows
    assert plain.pressure.value == pytest.approx(0, abs=1e-5) and steered.pressure.value > 0
    for row in found.rows:
        assert row.success.low <= row.success.value <= row.success.high and row.success.n == 12
        assert row.pressure.low <= row.pressure.value <= row.pressure.high and len(row.texts) == 12
    assert json.loads(json.dumps(found.to_dict()))["rows"][1]["dose"] == 1.0
    found.plot(tmp_path / "frontier.svg")
    assert (tmp_path / "frontier.svg").stat().st_size > 1000


def test_doses_are_those_of_the_sampler(llama_model: ResidualModel) -> None:
    vector = concept(llama_model)
    found = prompt_frontier(llama_model, vector, [JUDGE], EXAMPLES, doses=(1.5,), shots=(), n=6, max_tokens=8, seed=2)
    samples = steer.sample(llama_model, steer.compose({vector: 1.5}), n=6, max_tokens=8, seed=2)
    assert list(found.rows[0].texts) == samples.texts
    total = sum(sample.known_pressure["total"] for sample in samples) / sum(len(sample.tokens) for sample in samples)
    assert found.rows[0].pressure.value == pytest.approx(total, rel=0.2)  # without the end token


def test_prompts_in_words_have_a_row(llama_model: ResidualModel) -> None:
    given = ["the sea is", "a ship"]
    found = prompt_frontier(
        llama_model, concept(llama_model), [JUDGE], [], doses=(0,), shots=(), prompts=given, n=6, max_tokens=8, seed=2
    )
    assert [row.label for row in found.rows] == ["dose 0", "prompt"] and found.rows[1].given
    prompted = sample_prompted(llama_model, llama_model.encode(given), 6, max_tokens=8, seed=2)
    assert list(found.rows[1].texts) == prompted.texts
    assert found.rows[1].pressure.value == pytest.approx(prompted.pressure, rel=1e-3)


def test_a_prompt_without_room_is_refused_before_anything_is_sampled(llama_model: ResidualModel) -> None:
    seen: list[object] = []
    with pytest.raises(InputError, match="leaves room for 0 of 8"):
        prompt_frontier(
            llama_model, concept(llama_model), [JUDGE], [], shots=(), prompts=["the sea " * llama_model.max_context],
            n=4, max_tokens=8, watcher=seen.append,
        )  # fmt: skip
    assert not seen


def test_negative_doses_are_composed(llama_model: ResidualModel) -> None:
    vector = concept(llama_model)
    found = prompt_frontier(llama_model, vector, [JUDGE], [], doses=(-1.0,), shots=(), n=4, max_tokens=8, seed=2)
    samples = steer.sample(llama_model, steer.compose({vector: -1.0}), n=4, max_tokens=8, seed=2)
    assert list(found.rows[0].texts) == samples.texts


def test_both_together_are_read_against_the_plain_model(llama_model: ResidualModel) -> None:
    shifts = steer.compose({concept(llama_model): 1.0}).deltas
    (prompt,) = example_prompts(llama_model, EXAMPLES, 2, n=1)
    both = sample_prompted(llama_model, [prompt], 4, max_tokens=6, shifts=shifts)
    alone = sample_prompted(llama_model, [prompt], 4, max_tokens=6)
    assert both.texts != alone.texts and list(map(len, both.costs)) == list(map(len, both.tokens))
    zero = {site: 0 * shift for site, shift in shifts.items()}
    none = sample_prompted(llama_model, [prompt], 4, max_tokens=6, shifts=zero)
    assert none.texts == alone.texts and none.pressure == pytest.approx(alone.pressure, rel=1e-3)


def test_too_few_examples_are_refused(llama_model: ResidualModel) -> None:
    with pytest.raises(InputError, match="7 different examples for prompts of 9"):
        prompt_frontier(llama_model, concept(llama_model), [JUDGE], EXAMPLES, shots=(9,), n=4)
    with pytest.raises(InputError, match="at least 2"):
        prompt_frontier(llama_model, concept(llama_model), [JUDGE], EXAMPLES, n=1)
