"""The steering point as a probe: it agrees with the oracle on real texts, unlike a judge that never accepts."""

import numpy as np
import pytest
import torch

import steer
from steer.judges.almanac import Almanac, OracleJudge
from steer.metrics.probe import Probe, overoptimisation
from steer.metrics.typicality import real_costs
from vectors import extract, load_model
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel


@pytest.fixture(scope="module")
def almanac() -> ResidualModel:
    return load_model()


@pytest.fixture(scope="module")
def sides() -> tuple[list[str], list[str]]:
    world = Almanac()
    return world.texts({"voice": "cat"}, 48, seed=1), world.texts({}, 48, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["learned", "mean-difference"])
def test_on_real_texts_it_agrees_with_the_oracle(almanac: ResidualModel, sides, method: str) -> None:
    if method == "learned":
        point = steer.compose("cat", almanac)
    else:
        sea = Almanac().texts({"form": "sonnet"}, 48, seed=3)
        others = Almanac().texts({"form": ("letter", "diary", "recipe")}, 48, seed=4)
        sides = sea, others
        vector = extract(
            almanac, "sonnets", positive=sea[:24], background=others[:24], method=method, layer=4, calibrate=False
        )
        point = steer.compose({vector: 1.0})
    probe = Probe(almanac, point, sides[0][:24], sides[1][:24])
    fresh = np.array([probe.accepted(side[24:]).mean() for side in sides])
    assert fresh[0] > 0.7 and fresh[1] < 0.4
    judge = OracleJudge("cat" if method == "learned" else "sonnet")
    estimate = overoptimisation(sides[0][24:], judge, probe, real=sides[0][24:][::-1])
    assert estimate.perfect == estimate.value
    assert estimate.low <= estimate.perfect <= estimate.high and estimate.n == 24


@pytest.mark.slow
def test_texts_that_only_the_probe_accepts_are_over_optimised(almanac: ResidualModel, sides) -> None:
    probe = Probe(almanac, steer.compose("cat", almanac), sides[0][:24], sides[1][:24])
    texts = sides[0][24:]
    accepted = {text for text, hit in zip(texts, probe.accepted(texts), strict=True) if hit}
    blind, agreeing = (overoptimisation(texts, judge, probe) for judge in (lambda text: False, accepted.__contains__))
    assert blind.low > 0.5 and agreeing.value == 0.0
    assert agreeing.low < 0.0 < agreeing.high < 0.3  # 24 texts without a disagreement do not prove that there is none


def test_known_costs_are_not_computed_again(almanac: ResidualModel, sides) -> None:
    positive, background = (side[:24] for side in sides)
    point, n_read = steer.compose("cat", almanac), 0
    costs = dict(zip(positive, real_costs(almanac, positive).tokens, strict=True))
    plain, informed = (Probe(almanac, point, positive, background, base_nll=nll) for nll in (None, costs))

    def count(_module: torch.nn.Module, _args: tuple, options: dict) -> None:
        nonlocal n_read
        n_read += len(options["input_ids"])

    expected = plain.scores([*positive, *background])
    with almanac.hf.base_model.register_forward_pre_hook(count, with_kwargs=True):
        scores = informed.scores([*positive, *background])
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    assert n_read == 48 + 24  # all texts with the shift, and those of unknown costs without


def test_costs_of_cut_texts_are_not_used(almanac: ResidualModel, sides) -> None:
    positive, background = (side[:24] for side in sides)
    cut = dict(zip(positive, real_costs(almanac, positive, max_tokens=8).tokens, strict=True))
    point = steer.compose("cat", almanac)
    expected = Probe(almanac, point, positive, background).scores(positive)
    scores = Probe(almanac, point, positive, background, base_nll=cut).scores(positive)
    assert np.array_equal(scores, expected)


def test_too_few_texts_are_refused(almanac: ResidualModel, sides) -> None:
    with pytest.raises(InputError, match="20 or more"):
        Probe(almanac, steer.compose("cat", almanac), sides[0][:5], sides[1])
