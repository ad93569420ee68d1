"""Concepts learned together: one vector a label, each fit to be used alone or with the others."""

import numpy as np
import pytest
import torch

from vectors.activations.moments import moments
from vectors.activations.text_likelihood import likelihood_gains
from vectors.calibration.companions import learned_companions
from vectors.common.errors import InputError
from vectors.concepts.vector_file import load_file, save
from vectors.extraction.extract_jointly import extract_together

TEXTS = [
    f"the {who} {does} by the {place} ."
    for who in ("cat", "dog") for does in ("sang", "ran", "fell", "saw") for place in ("sea", "tree", "river")
]  # fmt: skip
LABELS = [[word for word in ("cat", "sea") if word in text] for text in TEXTS]


def find(model, **options):
    return extract_together(model, TEXTS, LABELS, **({"layer": 1, "calibrate": False, "steps": 80} | options))


def test_every_label_gets_a_vector_that_ranks_its_held_out_texts(llama_model, tmp_path, monkeypatch):
    # a score that tells cats apart for certain and knows nothing of the sea
    monkeypatch.setattr(
        "vectors.extraction.diagnostics.likelihood_gains",
        lambda model, rows, **_: [float("cat" in model.decode(row)) for row in rows],
    )
    found = find(llama_model)
    assert sorted(found) == ["cat", "sea"]
    for name, vector in found.items():
        assert (vector.name, vector.layer, vector.positions, vector.method) == (name, 1, "bos", "learned-together")
        assert (vector.auc == 1.0) == (name == "cat")
        assert (vector.n_positive, vector.n_background) == ((12, 12) if name == "cat" else (8, 16))
        assert load_file(save(vector, tmp_path / f"{name}.safetensors")) == vector


def test_each_raises_its_own_texts_and_those_that_begin_like_it_most(llama_model):
    for name, vector in find(llama_model).items():
        shift = vector.direction.double() * vector.gap
        own = [text for text in TEXTS if name in text]
        other = [text for text in TEXTS if name not in text]
        mean = [
            float(
                np.mean(likelihood_gains(llama_model, llama_model.encode(some), layer=1, shift=shift, positions="bos"))
            )
            for some in (own, other)
        ]
        assert mean[0] > 3 and (name == "sea" or mean[0] > mean[1] + 3)  # a random model forgets how a text begins


def test_the_order_of_texts_means_nothing_and_the_seed_decides(llama_model):
    once = find(llama_model, steps=3)
    again = extract_together(llama_model, TEXTS[::-1], LABELS[::-1], layer=1, calibrate=False, steps=3)
    other = find(llama_model, steps=3, seed=1)
    for name in once:
        assert torch.equal(once[name].direction, again[name].direction)
        assert torch.allclose(once[name].mean, again[name].mean, atol=1e-6)
        assert once[name].auc == again[name].auc
        assert not torch.equal(once[name].direction, other[name].direction)


def test_the_mean_is_that_of_every_text_learned_from_that_lacks_the_concept(llama_model):
    found = find(llama_model, steps=1)["sea"]
    assert found.held_out == 0.25 and found.split_seed == 0
    lacking = [text for text in TEXTS if not found.is_unseen(text) and "sea" not in text]
    assert torch.allclose(found.mean, moments(llama_model, llama_model.encode(lacking), [1])[1].mean.float(), atol=1e-5)


def test_a_pilots_samples_carry_what_the_texts_with_the_concept_have_too():
    shifts = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).double()
    has = np.array([[True, True, False]] * 3 + [[False, False, True]] * 3)
    made = learned_companions(shifts, has, 0, layer=1, seed=4)

    def placed(shift: float, n: int) -> torch.Tensor:
        return made(shift, n)[1]

    rows = placed(2.5, 64)
    along = shifts[0] / shifts[0].norm()
    assert torch.allclose(rows.double() @ along, torch.full((64,), 2.5, dtype=torch.float64), atol=1e-2)
    alone = torch.isclose(rows.double(), along * 2.5, atol=1e-2).all(dim=1)
    assert 16 < int(alone.sum()) < 48  # the second concept beside it in half of them, the third in none
    other = shifts[1] / shifts[1].norm()
    assert torch.allclose(rows[~alone].double() @ other, shifts[1].norm(), atol=1e-2)
    # at every length, and however many are asked for, a sample has the same company; at none it is all there is
    assert torch.equal(placed(2.5, 16), rows[:16])
    nothing = placed(0.0, 64)
    assert torch.allclose(nothing[alone], torch.zeros(8)) and not nothing[~alone].eq(0).all(dim=1).any()


@pytest.mark.slow
def test_pilots_find_units_unless_told_not_to(llama_model, monkeypatch):
    monkeypatch.setattr("vectors.calibration.calibrate._STEPS", 2)
    monkeypatch.setattr("vectors.calibration.calibrate._BISECTIONS", 0)
    assert all(len(vector.unit_curve) == 3 for vector in find(llama_model, calibrate=True, steps=3).values())


@pytest.mark.parametrize(
    ("texts", "labels", "options", "said"),
    [
        (TEXTS, LABELS[1:], {}, "24 texts and 23 labels"),
        (TEXTS, [[] for _ in TEXTS], {}, "no text has a label"),
        (TEXTS, [["cat"] for _ in TEXTS], {}, "background is empty"),
        (TEXTS, [["cat"] if place == 0 else [] for place in range(24)], {}, "too few texts have or lack 'cat'"),
        (TEXTS, [["a/b"] for _ in TEXTS], {}, "cannot name a concept"),
        (TEXTS, LABELS, {"layer": 3}, "0 to 2"),
        ([*TEXTS, "<eos>"], [*LABELS, ["cat"]], {}, "no token of its own"),
        (TEXTS, LABELS, {"held_out": 1.0}, "between 0 and 1"),
        (TEXTS, LABELS, {"positions": "some"}, "choose from bos"),
    ],
)
def test_what_cannot_be_used_is_refused(llama_model, texts, labels, options, said):
    with pytest.raises(InputError, match=said):
        extract_together(llama_model, texts, labels, **({"layer": 1, "calibrate": False, "steps": 1} | options))
