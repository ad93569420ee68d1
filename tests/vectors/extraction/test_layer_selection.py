"""The layer of a vector is chosen by AUC or by effect, and the word judge is fit only if a pilot needs it."""

import pytest
import torch
from helpers.contrast_texts import CATS, SHIPS, extract_cat

from vectors.calibration import word_judge
from vectors.calibration.equal_pressure import Effect
from vectors.calibration.word_judge import WordJudge
from vectors.data.contrast import ContrastSet


def test_without_a_pilot_auto_is_the_layer_with_the_highest_auc(llama_model):
    scores = [
        extract_cat(llama_model, method="mean-difference", layer=layer).auc for layer in range(llama_model.n_layers)
    ]
    assert scores[extract_cat(llama_model, method="mean-difference").layer] == max(scores)


def test_of_layers_with_equal_auc_the_one_with_the_largest_standardised_difference_is_taken(llama_model, monkeypatch):
    def scores(model, rows, directions, _pool):
        signs = [1.0 if "cat" in model.decode(row) else -1.0 for row in rows]
        return {layer: [sign * (1 + layer) + index % 2 for index, sign in enumerate(signs)] for layer in directions}

    monkeypatch.setattr("vectors.extraction.diagnostics._projections", scores)
    vector = extract_cat(llama_model, method="mean-difference")
    assert (vector.auc, vector.layer) == (1.0, llama_model.n_layers - 1)


def test_each_of_several_layers_is_shifted_by_its_own_gap(llama_model):
    vector = extract_cat(llama_model, method="mean-difference", layer=[0, 2])
    assert vector.layers == (0, 2)
    for layer in vector.layers:
        single = extract_cat(llama_model, method="mean-difference", layer=layer)
        assert torch.allclose(vector.shifts[layer, "all"] * vector.gap, single.direction * single.gap, atol=1e-4)


def test_with_a_pilot_auto_is_the_layer_with_the_most_success(llama_model, monkeypatch):
    measured: list[int] = []

    def fake_effects(_model, directions, judge, *, starts, positions, seed, progress):
        measured.extend(directions)
        assert judge.accepts(CATS[0]) and positions == "all" and set(starts) == set(directions)
        return {layer: Effect(scale=1.0, success=0.1 * (layer == 1), pressure=0.5, n=48) for layer in directions}

    monkeypatch.setattr("vectors.extraction.layer_selection.measure_effects", fake_effects)
    monkeypatch.setattr("vectors.extraction.layer_selection.calibrate", lambda _model, vector, *_, **__: vector)
    vector = extract_cat(llama_model, method="mean-difference", calibrate=True)
    assert measured == [0, 1, 2] and vector.layer == 1
    rows = vector.evidence["layers"]
    assert [row["success"] for row in rows] == [0.0, 0.1, 0.0] and all(row["low"] <= row["auc"] for row in rows)


@pytest.fixture
def fits(monkeypatch) -> list[tuple[list[str], list[str]]]:
    """The texts of both sides in each fit of a word judge for a pilot; the folds of its accuracy do not count."""
    fitted_on: list[tuple[list[str], list[str]]] = []

    class CountedJudge(WordJudge):
        def __init__(self, positive, background):
            fitted_on.append((sorted(positive), sorted(background)))
            super().__init__(positive, background)

    monkeypatch.setattr("vectors.extraction.layer_selection.WordJudge", CountedJudge)
    monkeypatch.setattr("vectors.calibration.calibrate.WordJudge", CountedJudge)
    monkeypatch.setattr("vectors.calibration.calibrate._STEPS", 2)
    monkeypatch.setattr("vectors.calibration.calibrate._BISECTIONS", 0)
    return fitted_on


@pytest.mark.parametrize("method", ["mean-difference", "learned"])
def test_without_a_pilot_no_word_judge_is_fit(llama_model, monkeypatch, fits, method):
    monkeypatch.setattr("vectors.extraction.shifts.learned_shift.STEPS", 2)

    def refuse(text: str) -> set[str]:
        raise AssertionError(f"the words of {text!r} were read")

    monkeypatch.setattr(word_judge, "features", refuse)
    vector = extract_cat(llama_model, method=method, layer=1, calibrate=False)
    assert len(fits) == 0 and vector.unit_judge is None


@pytest.mark.parametrize("layer", [1, "auto"])
def test_with_a_pilot_the_word_judge_is_fit_once_on_the_held_out_texts(llama_model, fits, layer):
    vector = extract_cat(llama_model, method="mean-difference", layer=layer, calibrate=True)
    _, held_out = ContrastSet(CATS, SHIPS).split()
    assert fits == [(sorted(held_out.positive), sorted(held_out.background))]
    assert vector.unit_judge == word_judge.accuracy(held_out.positive, held_out.background)
