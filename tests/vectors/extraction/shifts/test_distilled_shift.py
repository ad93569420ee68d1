"""Shifts distilled from a prompt bring the steered model near to the prompted one."""

from collections.abc import Mapping, Sequence

import pytest
import torch

from vectors.common.errors import InputError
from vectors.decoding.prompted_samples import kl_between, text_states
from vectors.extraction.shifts.distilled_shift import (
    LATE,
    TokenIds,
    check_length,
    distil,
    few_shot_pairs,
    read_lessons,
    steered_states,
)
from vectors.model.output_head import map_logits
from vectors.model.positions import Site
from vectors.model.residual_model import ResidualModel

TEXTS = (
    "the cat sat in the sea",
    "a storm fell on the old man",
    "the sea was calm",
    "a cat and a storm",
    "the man fell",
)


def distance_to_prompted(
    model: ResidualModel, pairs: Sequence[tuple[TokenIds, TokenIds]], shifts: Mapping[Site, torch.Tensor]
) -> torch.Tensor:
    """Return the mean KL(prompted || steered) over the tokens of some texts and the whole vocabulary, in nats."""
    check_length(model, pairs)
    with torch.no_grad():
        prompted, steered = text_states(model, pairs), steered_states(model, [text for _, text in pairs], shifts)
        return map_logits(model, kl_between, prompted, steered).mean()


def test_the_distance_is_the_divergence_of_plain_forwards(llama_model: ResidualModel) -> None:
    prompt, text = llama_model.encode(["the old sea"])[0], llama_model.encode(["a cat fell"])[0][1:]
    start = llama_model.start_ids()
    with torch.no_grad():
        behind, alone = (
            llama_model.hf(torch.tensor([[*prefix, *text]])).logits[0, len(prefix) - 1 : -1].log_softmax(-1)
            for prefix in (prompt, start)
        )
        expected = (behind.exp() * (behind - alone)).sum(-1).mean()
        found = distance_to_prompted(llama_model, [(prompt, text), (prompt, text)], {})
        none = distance_to_prompted(llama_model, [(start, text)], {})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert abs(float(none)) < 1e-5


def test_learning_brings_the_steered_model_near_to_the_prompted_one(llama_model: ResidualModel) -> None:
    rows = [ids[1:] for ids in llama_model.encode(list(TEXTS))]
    pairs = few_shot_pairs(llama_model, rows, shots=2, between=[], seed=0)
    zero = torch.zeros(llama_model.d_model)
    losses: list[float] = []
    lessons = read_lessons(llama_model, pairs)
    shifts = distil(llama_model, lessons, {(1, "all"): zero, (0, "bos"): zero}, steps=40, progress=losses.append)
    assert set(shifts) == {(1, "all"), (0, "bos")} and all(bool(shift.any()) for shift in shifts.values())
    fresh = pairs(1000)
    with torch.no_grad():
        before = distance_to_prompted(llama_model, fresh, {})
        after = distance_to_prompted(llama_model, fresh, {site: shift.float() for site, shift in shifts.items()})
    assert after < 0.9 * before and len(losses) == 40
    assert all(parameter.grad is None for parameter in llama_model.hf.parameters())


def test_early_tokens_and_the_plain_model_have_their_weights(llama_model: ResidualModel) -> None:
    rows = [ids[1:] for ids in llama_model.encode(list(TEXTS))]
    lessons = read_lessons(llama_model, few_shot_pairs(llama_model, rows, shots=2, between=[], seed=0), batches=4)
    zero = {(1, "all"): torch.zeros(llama_model.d_model), (1, "decay:1"): torch.zeros(llama_model.d_model)}
    long = [[*row, *rows[0], *rows[1]] for row in rows]
    long_lessons = read_lessons(llama_model, few_shot_pairs(llama_model, long, shots=2, between=[], seed=0), batches=4)

    def pressures(kl: float) -> tuple[float, float]:
        """The mean pressure of shifts at early and at late tokens."""
        found = distil(llama_model, long_lessons, zero, steps=40, rate=0.1, kl=kl)
        shifts = {site: shift.float() for site, shift in found.items()}
        with torch.no_grad():
            plain, steered = (steered_states(llama_model, long[:1], moved) for moved in ({}, shifts))
            cost = map_logits(llama_model, kl_between, steered, plain)
        return float(cost[:LATE].mean()), float(cost[LATE:].mean())

    (early, late), (early_near, late_near) = pressures(0.0), pressures(5.0)
    assert late_near < 0.5 * late and early_near / early > late_near / late
    firsts = [
        (prompt, text[:1])
        for number in range(4)
        for prompt, text in few_shot_pairs(llama_model, rows, shots=2, between=[], seed=0)(number)
    ]
    late, early = (
        float(distance_to_prompted(llama_model, firsts, {site: shift.float() for site, shift in found.items()}))
        for found in (distil(llama_model, lessons, zero, steps=30, early=weight) for weight in (0.0, 50.0))
    )
    assert early < late


def test_what_does_not_fit_is_refused(llama_model: ResidualModel) -> None:
    rows = [ids[1:] for ids in llama_model.encode(list(TEXTS))]
    with pytest.raises(InputError, match="give 6 or more"):
        few_shot_pairs(llama_model, rows, shots=5, between=[], seed=0)
    with pytest.raises(InputError, match="more than the context"):
        distance_to_prompted(llama_model, [([1] * llama_model.max_context, rows[0])], {})
