"""The estimate before a long job: said from two minutes on, measured only where a job may be long."""

import itertools

import pytest

from cli.terminal import time_estimate
from cli.terminal.time_estimate import announce, extraction_seconds, learning_seconds, pilot_seconds, sampling_seconds
from vectors.extraction.extract import layers_for
from vectors.model.residual_model import ResidualModel


@pytest.mark.parametrize(
    ("seconds", "options", "line"),
    [
        (119, {"n": 100}, ""),
        (180, {}, "this takes about 3 min 00 s\n"),
        (10_800, {"n": 20_000, "at_most": True}, "this takes up to about 3 h; -n 200 takes about 1 min 48 s\n"),
        (900, {"shorter": "--layer 3 tries one layer"}, "this takes about 15 min; --layer 3 tries one layer\n"),
        (1e11, {"n": 10**11}, "this takes about 3200 years; -n 100 takes about 1 min 40 s\n"),
        (600, {"n": 1}, "this takes about 10 min\n"),
    ],
)
def test_a_long_job_is_announced_with_what_shortens_it(
    capfd: pytest.CaptureFixture[str], seconds: float, options: dict[str, object], line: str
) -> None:
    announce(seconds, **options)  # type: ignore[arg-type]
    assert capfd.readouterr().err == line


def test_a_small_job_costs_no_forward_pass(llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_estimate, "_time_decoding", None)
    assert sampling_seconds(llama_model, 100, 128) == 0
    assert pilot_seconds(llama_model, layers=4) == 0
    assert learning_seconds(llama_model, ["the sea"], [1], positions="bos", steps=120) == 0


def test_a_large_job_is_measured_on_a_few_steps(llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.cycle([9.0, 0.5, 0.5 + 8 * 0.25])  # the first pass, one step, and eight more
    monkeypatch.setattr(time_estimate, "_time_decoding", lambda *_, **__: next(times))
    assert sampling_seconds(llama_model, 10**8, 16, batch_size=64) == pytest.approx(10**8 / 64 * 16 * 0.25)
    monkeypatch.undo()
    assert 0 < sampling_seconds(llama_model, 10**8, 16, costs=False) < 1e9
    assert sampling_seconds(llama_model, 10**8, 16) > 0


def test_an_extraction_is_its_learning_and_its_pilot(monkeypatch, llama_model):
    monkeypatch.setattr(time_estimate, "learning_seconds", lambda model, texts, layers, **_: 100.0 * len(layers))
    monkeypatch.setattr(time_estimate, "pilot_seconds", lambda model, layers: 10.0 * layers)

    def estimate(method="learned", layer="auto", calibrate=True):
        return extraction_seconds(llama_model, method, layer, ["the sea"], positions=None, calibrate=calibrate)

    n_layers = len(layers_for(llama_model, "learned", "auto", choose=True))
    assert estimate() == (
        110.0 * n_layers,
        f"--layer 0 tries one layer instead of {n_layers}, --no-calibrate skips the pilot",
    )
    assert estimate(layer=1) == (110.0, "--no-calibrate skips the pilot")
    assert estimate(layer=1, calibrate=False) == (100.0, "")
    assert estimate(method="mean-difference", layer=1) == (10.0, "--no-calibrate skips the pilot")


def test_learning_is_measured_on_one_step(llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_estimate, "LONG", 0.0)
    one = learning_seconds(llama_model, ["the sea", "a ship"], [1], positions="all", steps=1)
    assert one > 0
