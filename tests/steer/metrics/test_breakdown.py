"""Breakdown, branching, pressure and typicality: worked examples, and known samplers."""

from types import SimpleNamespace

import numpy as np
import pytest

import steer
from steer.metrics.branching import branching
from steer.metrics.breakdown import RARE, WINDOW, breakdown, kaplan_meier, windowed_nll
from steer.metrics.pressure import pressure
from steer.metrics.typicality import CENTRAL, RealCosts, real_costs, typicality
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import replayed
from vectors.common.errors import InputError, ModelError
from vectors.decoding.token_costs import Cost
from vectors.model.residual_model import ResidualModel


def test_survival_is_kaplan_and_meier_s_worked_example() -> None:
    """Weeks of remission: Freireich et al. (1963), as in every textbook."""
    weeks = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35], float)
    relapsed = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], bool)
    at, surviving = kaplan_meier(weeks, relapsed)
    assert at.tolist() == [6, 7, 10, 13, 16, 22, 23]
    np.testing.assert_allclose(surviving, [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482], atol=1e-4)
    assert [len(each) for each in kaplan_meier(weeks, np.zeros(21, bool))] == [0, 0]


def test_one_strange_token_breaks_nothing_down_and_a_run_of_them_does() -> None:
    calm = np.ones(30)
    one, many = calm.copy(), calm.copy()
    one[10] = 6.0
    many[10:20] = 6.0
    assert windowed_nll(calm)[WINDOW:] == pytest.approx(1.0) and windowed_nll(one).max() == pytest.approx(13 / 8)
    assert windowed_nll(many).max() == pytest.approx(6.0) and len(windowed_nll(one)) == 30


def _run(model: ResidualModel, n: int, nll: float) -> tuple[SampleSet, list[Cost]]:
    run = steer.sample(model, None, n=n, max_tokens=20)
    costs = [
        Cost(np.full(len(each.tokens), -nll), np.full(len(each.tokens), -nll), np.full(len(each.tokens), 0.5))
        for each in run
    ]
    return run, costs


def test_texts_break_down_where_real_ones_never_go(llama_model: ResidualModel) -> None:
    real = RealCosts(tuple(np.random.default_rng(0).gamma(4, 0.25, size=(400, 20))))
    run, fine = _run(llama_model, 6, 1.0)
    assert breakdown(run, fine, real).share.value == 0.0
    broken = breakdown(run, _run(llama_model, 6, 9.0)[1], real)
    whole = [each for each in run if len(each.tokens) >= WINDOW]
    assert broken.share.value == pytest.approx(len(whole) / 6, abs=0.35) and broken.per_nat is not None
    assert broken.share.perfect == pytest.approx(RARE, rel=0.25) and broken.per_nat.low > 0


def test_few_real_texts_put_the_threshold_too_low_and_the_share_says_so(llama_model: ResidualModel) -> None:
    """Texts of one sampler on both sides: how many break down on the average is what a perfect one is said to show."""
    random, shares, perfect = np.random.default_rng(1), [], set()
    for _ in range(60):
        rows = random.gamma(4, 0.25, size=(60, 20))
        real = RealCosts(tuple(rows[:20]))
        costs = [Cost(-row, -row, np.full(20, 0.5)) for row in rows[20:]]
        samples = [SimpleNamespace(tokens=[0] * 20) for _ in costs]
        found = breakdown(samples, costs, real).share
        shares.append(found.value)
        perfect.add(found.perfect)
    assert len(perfect) == 1 and np.mean(shares) == pytest.approx(perfect.pop(), abs=0.02)
    assert found.low <= found.perfect <= found.high


def test_the_branching_factor_of_even_choices_is_their_number(llama_model: ResidualModel) -> None:
    run, costs = _run(llama_model, 5, 1.0)
    for cost in costs:
        object.__setattr__(cost, "entropy", np.full(len(cost.kl), np.log(7.0)))
    whole, curve = branching(run, costs)
    assert whole.value == pytest.approx(7.0) and whole.low <= 7.0 <= whole.high + 1e-9
    assert all(each.value == pytest.approx(7.0) for each in curve) and curve[0].n == 5
    with pytest.raises(InputError, match="no entropies"):
        branching(run, _run(llama_model, 5, 1.0)[1])


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_p": 0.8}])
def test_entropies_are_those_of_what_tokens_are_drawn_from(tiny_model: ResidualModel, settings: dict) -> None:
    import torch

    from vectors.decoding.token_sampling import Settings, probabilities

    run = steer.sample(tiny_model, None, n=3, max_tokens=9, **settings)
    for each, cost in zip(run, replayed(tiny_model, run), strict=True):
        ids = torch.tensor([[*tiny_model.start_ids(), *each.tokens]])
        with torch.no_grad():
            logits = tiny_model.hf(input_ids=ids).logits[0, :-1]
        shares = probabilities(logits, Settings(**settings))
        shares = shares / shares.sum(-1, keepdim=True)
        wanted = torch.special.entr(shares).sum(-1)
        np.testing.assert_allclose(cost.entropy, wanted.numpy(), atol=1e-4)


def test_a_replayed_run_has_the_costs_it_was_saved_with(llama_model: ResidualModel) -> None:
    run = steer.sample(llama_model, None, n=6, max_tokens=12)
    for each, cost in zip(run, replayed(llama_model, run), strict=True):
        assert cost.logprob_base.sum() == pytest.approx(each.logprob_base, abs=1e-3)
    figures = {each.name: each for each in pressure(run, replayed=replayed(llama_model, run))}
    assert figures["pressure"].value == pytest.approx(0.0, abs=1e-6) and "p95 pressure" in figures
    assert "p95 pressure per text" in {each.name for each in pressure(run)}
    with pytest.raises(InputError, match="give those of this run"):
        pressure(run, replayed=replayed(llama_model, run)[:-1])


def test_other_weights_are_not_replayed(llama_model: ResidualModel, make_hf, make_tokenizer) -> None:
    run = steer.sample(llama_model, None, n=2, max_tokens=5)
    with pytest.raises(ModelError, match="other weights"):
        replayed(ResidualModel(make_hf("llama", seed=5), make_tokenizer(), name="other"), run)


def test_texts_of_the_model_itself_are_typical_of_themselves(llama_model: ResidualModel) -> None:
    """Percentiles among texts of one and the same sampler: nine tenths within the central nine tenths."""
    run = steer.sample(llama_model, None, n=800, max_tokens=16)
    real = RealCosts(tuple(-cost.logprob_base for cost in replayed(llama_model, SampleSet(run[:600]))))
    figures = {each.name: each for each in typicality(SampleSet(run[600:]), real)}
    assert figures["typical"].low <= CENTRAL <= figures["typical"].high
    assert figures["typicality"].low <= 0.5 <= figures["typicality"].high
    assert figures["base NLL"].low <= figures["base NLL"].perfect <= figures["base NLL"].high


def test_bland_and_strange_texts_are_both_untypical(llama_model: ResidualModel) -> None:
    run = steer.sample(llama_model, None, n=30, max_tokens=16)
    nll = np.array([-each.logprob_base / len(each.tokens) for each in run])
    for shift in (-10.0, 10.0):
        real = RealCosts(tuple(np.full(16, value) for value in np.linspace(nll.min(), nll.max(), 50) + shift))
        figures = {each.name: each for each in typicality(run, real)}
        assert figures["typical"].value == 0.0 and figures["typicality"].value < 0.05


def test_real_texts_cost_what_the_model_says_their_end_included(llama_model: ResidualModel) -> None:
    import torch

    texts = ["the cat sat in the sea", "a storm fell"] * 10
    found = real_costs(llama_model, texts)
    ids = torch.tensor([[*llama_model.encode([texts[0]])[0], 1]])
    with torch.no_grad():
        logs = llama_model.hf(input_ids=ids).logits[0, :-1].log_softmax(-1)
    wanted = -logs.gather(-1, ids[0, 1:, None]).squeeze(-1)
    np.testing.assert_allclose(found.tokens[0], wanted.numpy(), atol=1e-4)
    with pytest.raises(InputError, match="20 or more"):
        real_costs(llama_model, texts[:5])
