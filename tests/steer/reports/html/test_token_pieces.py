from pathlib import Path

import numpy as np
import pytest
from helpers import hub

import steer
from steer.reports.html.token_pieces import pieces
from steer.reports.report import Report
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import replayed
from vectors.model.residual_model import ResidualModel, load_model


def test_pieces_make_up_the_text_and_cost_what_it_cost(almanac: ResidualModel, run: SampleSet, measured: Report):
    assert measured.costs is not None
    for sample, cost in zip(run, measured.costs, strict=True):
        found = pieces(almanac, sample, cost)
        assert found is not None and "".join(piece.text for piece in found) == sample.text
        assert len(found) == len(sample.tokens)
        assert sum(piece.pressure for piece in found) == pytest.approx(sample.pressure["total"], rel=1e-3)
        assert sum(piece.base for piece in found) == pytest.approx(sample.logprob_base, rel=1e-4)
        assert [piece.steered for piece in found] == pytest.approx(cost.logprob_steered.tolist())
        assert found[-1].text == ("" if sample.finish == "eos" else found[-1].text)


def test_characters_of_several_tokens_are_one_piece(tmp_path: Path):
    """A byte-level tokenizer that knows no such letters needs several tokens for each."""
    hub.write(tmp_path, ["plain words only, and nothing else"] * 4)
    model = load_model(tmp_path / "gpt2", "cpu")
    runs = steer.sample(model, None, n=6, prompt="naïve 日本 ", max_tokens=40, seed=1)
    assert any(ord(character) > 127 for character in "".join(runs.texts))
    several = False
    for sample, cost in zip(runs, replayed(model, runs), strict=True):
        found = pieces(model, sample, cost)
        assert found is not None and "".join(piece.text for piece in found) == sample.text
        several |= len(found) < len(sample.tokens)
        assert np.isclose(sum(piece.steered for piece in found), sample.logprob_steered, rtol=1e-4)
    assert several


def test_a_text_that_its_tokens_do_not_write_has_no_pieces(almanac: ResidualModel, run: SampleSet, measured: Report):
    from dataclasses import replace

    assert measured.costs is not None
    assert pieces(almanac, replace(run[0], text="something else"), measured.costs[0]) is None
