"""Replaying a run: the same costs as when it was sampled, and refusal of other weights."""

from dataclasses import replace
from pathlib import Path

import pytest

import steer
from steer.runs.sample_file import SampleFile
from steer.runs.sample_set import SampleSet
from steer.sampling.replay import replayed
from vectors.common.errors import InputError, ModelError, OutputError
from vectors.model.residual_model import ResidualModel


def test_a_replayed_run_has_the_costs_it_was_saved_with(llama_model: ResidualModel) -> None:
    run = steer.sample(llama_model, None, n=6, max_tokens=12)
    for sample, cost in zip(run, replayed(llama_model, run), strict=True):
        assert cost.logprob_base.sum() == pytest.approx(sample.logprob_base, abs=1e-3)


def test_other_weights_are_not_replayed(llama_model: ResidualModel, make_hf, make_tokenizer) -> None:
    run = steer.sample(llama_model, None, n=2, max_tokens=5)
    with pytest.raises(ModelError, match="other weights"):
        replayed(ResidualModel(make_hf("llama", seed=5), make_tokenizer(), name="other"), run)


def test_an_edited_text_is_not_replayed(llama_model: ResidualModel) -> None:
    first, *others = steer.sample(llama_model, None, n=3, max_tokens=5)
    edited = SampleSet([replace(first, text="the storm"), *others])
    with pytest.raises(InputError, match="the text of sample 0 is not what its tokens decode to"):
        replayed(llama_model, edited)


def test_a_run_of_an_earlier_version_is_replayed_and_not_resumed(llama_model: ResidualModel, tmp_path: Path) -> None:
    run = steer.sample(llama_model, None, n=3, max_tokens=5)
    old = SampleSet(
        replace(each, settings={key: value for key, value in each.settings.items() if key != "draw"}) for each in run
    )
    assert [cost.pressure for cost in replayed(llama_model, old)] == [
        cost.pressure for cost in replayed(llama_model, run)
    ]
    path = old.save(tmp_path / "old.jsonl")
    expect = {"settings": {"draw": run[0].settings["draw"]}}
    with (
        pytest.raises(OutputError, match="earlier version, which drew other tokens from the same seed; pass --force"),
        SampleFile(path, "resume", expect),
    ):
        raise AssertionError("entered")
