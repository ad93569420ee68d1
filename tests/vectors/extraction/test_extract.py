"""Extraction end to end on tiny models: what is held out, what is chosen, what is refused."""

import numpy as np
import pytest
import torch

import vectors
from vectors.activations.moments import moments
from vectors.calibration.layer_effect import Effect
from vectors.common import option_names
from vectors.common.errors import InputError, ModelError, VectorError
from vectors.data.contrast import ContrastSet
from vectors.decoding.prompt_free_samples import sample_prompt_free
from vectors.extraction.extract import layers_for
from vectors.extraction.methods import METHODS
from vectors.model.hooks import shift_layers
from vectors.model.residual_model import ResidualModel

VERBS, PLACES = ("sang", "ran", "fell", "saw", "rose", "heard"), ("sea", "river", "tree", "stone", "night", "wind")
CATS = [f"the cat {verb} by the {place}" for verb in VERBS for place in PLACES]
SHIPS = [f"a ship {verb} on a {place}" for verb in VERBS for place in PLACES]


def find(model, **options):
    return vectors.extract(model, "cat", positive=CATS, background=SHIPS, **({"calibrate": False} | options))


def test_mean_difference_is_that_of_the_texts_not_held_out(tiny_model):
    found = find(tiny_model, method="mean-difference", layer=1)
    fit, _ = ContrastSet(tuple(CATS), tuple(SHIPS)).split()
    means = [moments(tiny_model, tiny_model.encode(side), [1])[1].mean for side in (fit.positive, fit.background)]
    difference = means[0] - means[1]
    assert torch.allclose(found.direction, (difference / difference.norm()).float(), atol=1e-6)
    assert found.gap == pytest.approx(float(difference.norm()))
    assert torch.allclose(found.mean, means[1].float(), atol=1e-5)
    assert not found.calibrated and found.scale == found.gap


@pytest.mark.parametrize("method", [name for name in METHODS if name != "token"])
def test_every_method_tells_the_sides_apart_and_says_how_it_was_made(llama_model, method):
    found = find(llama_model, method=method, layer=1)
    assert found.auc > 0.9 and found.gap > 0 and found.positions == METHODS[method].positions
    assert (found.method, found.layer, found.n_positive, found.n_background) == (method, 1, len(CATS), len(SHIPS))
    assert found.model_hash == llama_model.hash
    assert float(found.direction.norm()) == pytest.approx(1, abs=1e-5)


def test_auto_takes_the_layer_that_tells_held_out_texts_apart_best(llama_model):
    scores = [find(llama_model, method="mean-difference", layer=layer).auc for layer in range(llama_model.n_layers)]
    assert scores[find(llama_model, method="mean-difference").layer] == max(scores)


def test_labels_that_mean_nothing_give_an_auc_near_a_half(llama_model):
    mixed = np.random.default_rng(0).permutation(CATS + SHIPS)
    half = len(mixed) // 2
    found = vectors.extract(
        llama_model, "noise", positive=list(mixed[:half]), background=list(mixed[half:]), method="mean-difference",
        layer=1, calibrate=False, held_out=0.5,
    )  # fmt: skip
    assert 0.2 < found.auc < 0.8


def test_a_learned_direction_is_for_the_start_token_unless_told_otherwise(llama_model):
    assert find(llama_model, method="learned", layer=1).positions == "bos"
    assert find(llama_model, method="learned", layer=1, positions="all").positions == "all"
    assert find(llama_model, method="mean-difference", layer=1).positions == "all"
    assert find(llama_model, method="mean-difference", layer=1, positions="bos").positions == "bos"


def test_a_learned_shift_ranks_held_out_texts_by_what_it_gains(llama_model, monkeypatch):
    monkeypatch.setattr(
        "vectors.extraction.diagnostics.likelihood_gains",
        lambda model, rows, **_: [float("cat" in model.decode(row)) for row in rows],
    )
    found = find(llama_model, method="learned", layer=1)
    assert found.auc == 1.0 and found.gap > 0


def test_calibration_is_done_unless_told_not_to_and_keeps_its_curve(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.calibration.calibrate._STEPS", 2)
    monkeypatch.setattr("vectors.calibration.calibrate._BISECTIONS", 0)
    told = []
    found = find(
        llama_model, method="mean-difference", layer=1, calibrate=True, progress=lambda *what: told.append(what)
    )
    assert len(found.unit_curve) == 3
    assert found.unit_curve[0]["shift"] == 0 and found.unit_curve[0]["p95"] == 0
    assert found.calibrated == (found.unit is not None)
    assert any("pilot" in what for what, _, _ in told) and any("reading" in what for what, _, _ in told)


def test_the_seed_decides(llama_model):
    once, again = (find(llama_model, method="learned", layer=1, seed=4) for _ in range(2))
    assert torch.equal(once.direction, again.direction) and once.auc == again.auc


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"method": "guess"}, InputError, "learned"),
        ({"layer": 3}, InputError, "0 to 2"),
        ({"layer": -1}, InputError, "0 to 2"),
        ({"positive": []}, InputError, "empty"),
        ({"background": []}, InputError, "empty"),
        ({"positive": ["only this"]}, InputError, "at least 2"),
        ({"positive": SHIPS}, InputError, "same texts"),
        ({"positive": "the cat sang"}, InputError, "positive"),
        ({"background": None, "paired": True}, InputError, "pairs have two sides"),
        ({"positive": None}, InputError, "needs texts that have the concept"),
        ({"positive": None, "method": "token"}, InputError, "no positive ones"),
        ({"positive": CATS[:5], "paired": True}, InputError, "no pairs"),
        ({"pool": "median"}, InputError, "pool is 'median'"),
        ({"weights": {"nowhere": 1.0}}, InputError, "none of the texts"),
        ({"layer": []}, InputError, "several of them"),
        ({"layer": "first"}, InputError, "layer is 'first'"),
        ({"layer": [0, 3]}, InputError, "0 to 2"),
        ({"layer": [0, 1], "method": "learned"}, InputError, "one layer by itself"),
        ({"name": "a/b"}, InputError, "cannot name a concept"),
        ({"positive": ["<eos>", "the cat", "a cat"]}, InputError, "no token"),
    ],
)
def test_what_cannot_be_used_is_refused(llama_model, wrong, error, said):
    options = {
        "positive": CATS,
        "background": SHIPS,
        "method": "mean-difference",
        "layer": 1,
        "calibrate": False,
    } | wrong
    name = options.pop("name", "cat")
    with pytest.raises(error, match=said):
        vectors.extract(llama_model, name, **options)


def test_texts_that_look_alike_are_refused(llama_model):
    with pytest.raises(VectorError, match="look alike"):
        vectors.extract(
            llama_model, "cat", positive=["the sea", "zzz", "zzz zzz"], background=["the sea", "qqq", "qqq qqq"],
            method="mean-difference", layer=1, calibrate=False,
        )  # fmt: skip


@pytest.mark.parametrize("method", ["mean-difference", "learned"])
@pytest.mark.parametrize("seed", range(5))  # of which some hold it out
def test_a_text_with_nothing_to_read_is_refused_whichever_part_it_falls_in(llama_model, method, seed):
    with pytest.raises(InputError, match="'<eos>' has no token of its own"):
        vectors.extract(
            llama_model, "cat", positive=CATS[:3], background=["<eos>", *SHIPS[:2]], method=method, layer=1,
            calibrate=False, seed=seed,
        )  # fmt: skip


def test_of_layers_that_tell_the_texts_apart_equally_well_the_clearest_is_taken(llama_model, monkeypatch):
    def scores(model, rows, directions, _pool):
        signs = [1.0 if "cat" in model.decode(row) else -1.0 for row in rows]
        return {at: [sign * (1 + at) + place % 2 for place, sign in enumerate(signs)] for at in directions}

    monkeypatch.setattr("vectors.extraction.diagnostics._projections", scores)
    found = find(llama_model, method="mean-difference")
    assert (found.auc, found.layer) == (1.0, llama_model.n_layers - 1)


def test_likelihoods_that_are_not_finite_are_refused(make_hf, make_tokenizer):
    hf = make_hf("llama")
    with torch.no_grad():
        hf.lm_head.weight[5] = float("inf")
    model = ResidualModel(hf, make_tokenizer(), name="broken")
    with pytest.raises(ModelError, match="likelihoods under a shift at layer 1 that are not finite: check its weights"):
        find(model, method="learned", layer=1)


def test_without_a_background_the_models_own_texts_are_it(llama_model):
    found = vectors.extract(llama_model, "cat", positive=CATS, method="mean-difference", layer=1, calibrate=False)
    own = sample_prompt_free(llama_model, 64)
    assert found.n_background == len(own)
    given = vectors.extract(
        llama_model, "cat", positive=CATS, background=own, method="mean-difference", layer=1, calibrate=False
    )
    assert torch.equal(found.direction, given.direction)


def test_mean_centred_takes_its_texts_from_the_model_and_its_judge_from_the_background(llama_model):
    found = find(llama_model, method="mean-centred", layer=1)
    fit, _ = ContrastSet(tuple(CATS), tuple(SHIPS)).split()
    own = sample_prompt_free(llama_model, 64, seed=1)
    means = [moments(llama_model, llama_model.encode(side), [1])[1].mean for side in (fit.positive, own)]
    assert torch.allclose(found.direction, ((means[0] - means[1]) / (means[0] - means[1]).norm()).float(), atol=1e-5)
    assert found.n_background == len(SHIPS) and found.contrast_hash == ContrastSet(CATS, SHIPS).hash


def test_a_token_needs_no_texts_and_leads_to_its_words(llama_model):
    found = vectors.extract(llama_model, "cat", method="token", layer=1, calibrate=False)
    assert found.auc is None and found.n_positive == 0 and found.is_unseen("any") is None
    ids = llama_model.batch(llama_model.encode(["the dog saw a"]))
    word = llama_model.tokenizer.convert_tokens_to_ids("cat")
    with torch.no_grad():
        plain = llama_model.hf(**ids).logits[0].log_softmax(dim=-1)[:, word].mean()
        with shift_layers(llama_model, {1: found.direction * found.scale}):
            led = llama_model.hf(**ids).logits[0].log_softmax(dim=-1)[:, word].mean()
    assert led > plain + 0.5
    other = vectors.extract(llama_model, "beast", method="token", words=["dog"], layer=1, calibrate=False)
    assert abs(float(other.direction @ found.direction)) < 0.99
    with pytest.raises(InputError, match="'beast' is no single token"):
        vectors.extract(llama_model, "beast", method="token", layer=1, calibrate=False)


def test_several_layers_are_steered_each_by_its_own_gap(llama_model):
    found = find(llama_model, method="mean-difference", layer=[0, 2])
    alone = {at: find(llama_model, method="mean-difference", layer=at) for at in (0, 2)}
    assert found.layers == (0, 2)
    for at, vector in alone.items():
        assert torch.allclose(found.shift_at(at) * found.gap, vector.direction * vector.gap, atol=1e-4)


def test_pairs_are_told_apart_within_themselves(llama_model):
    """Where what a pair is about varies more than what sets its texts apart, only their differences show it."""
    ships = [text.replace("cat", "ship") for text in CATS]
    found = vectors.extract(
        llama_model, "cat", positive=CATS, background=ships, paired=True, method="pca", layer=1, calibrate=False,
    )  # fmt: skip
    rows = [
        np.stack([moments(llama_model, llama_model.encode([text]), [1])[1].mean.numpy() for text in side])
        for side in ContrastSet(CATS, ships, paired=True).split()[0].__dict__.values() if isinstance(side, tuple)
    ][:2]  # fmt: skip
    axis = np.linalg.svd(rows[0] - rows[1])[2][0]
    assert abs(float(found.direction.numpy() @ axis)) == pytest.approx(1, abs=1e-4)
    assert found.held_out is None and found.is_unseen(CATS[0]) is None


def test_by_effect_the_layer_whose_samples_show_the_concept_most_is_taken(llama_model, monkeypatch):
    tried: list[int] = []

    def effects(_model, found, judge, *, starts, positions, seed, progress):
        tried.extend(found)
        assert judge.accepts(CATS[0]) and positions == "all" and set(starts) == set(found)
        return {at: Effect(shift=1.0, success=0.1 * (at == 1), p95=0.5, n=48) for at in found}

    monkeypatch.setattr("vectors.extraction.layer_selection.effects", effects)
    monkeypatch.setattr("vectors.extraction.layer_selection.calibrate", lambda _model, vector, *_, **__: vector)
    found = find(llama_model, method="mean-difference", calibrate=True)
    assert tried == [0, 1, 2] and found.layer == 1
    rows = found.evidence["layers"]
    assert [row["success"] for row in rows] == [0.0, 0.1, 0.0] and all(row["low"] <= row["auc"] for row in rows)


@pytest.mark.parametrize("method", ["learned", "mean-difference"])
def test_auto_has_layers_to_choose_among_where_a_pilot_can_choose(llama_model, method):
    assert len(layers_for(llama_model, method, "auto", choose=True)) > 1
    assert (len(layers_for(llama_model, method, "auto", choose=False)) > 1) == (method != "learned")


def test_how_sure_a_direction_is_is_kept_with_it(llama_model):
    found = find(llama_model, method="mean-difference", layer=1)
    told = found.evidence
    assert [row["layer"] for row in told["layers"]] == [1] and told["layers"][0]["auc"] == pytest.approx(found.auc)
    assert 0.5 < told["stability"] <= 1 and len(told["tokens"]["top"]) == len(told["tokens"]["bottom"]) == 8
    scores = {
        text: float(moments(llama_model, llama_model.encode([text]), [1])[1].mean @ found.direction.double())
        for text in CATS
    }
    assert told["texts"] == sorted(CATS, key=scores.__getitem__, reverse=True)[:3]
    assert "stability" not in find(llama_model, method="mean-difference", layer=1, stability=False).evidence


def test_weights_move_the_mean(llama_model):
    heavy = find(llama_model, method="mean-difference", layer=1, weights={text: 1e6 for text in CATS if "sea" in text})
    fit, _ = ContrastSet(CATS, SHIPS).split()
    sea = moments(llama_model, llama_model.encode([text for text in fit.positive if "sea" in text]), [1])[1].mean
    other = moments(llama_model, llama_model.encode(fit.background), [1])[1].mean
    assert torch.allclose(heavy.direction, ((sea - other) / (sea - other).norm()).float(), atol=1e-3)


def test_the_names_that_are_listed_are_those_there_are():
    assert tuple(METHODS) == option_names.METHODS
    assert tuple(name for name, method in METHODS.items() if method.shift) == option_names.SHIFT_METHODS
