"""A passport tells the same weights, the same model quantised or cast, and another model."""

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

import vectors
from vectors.common.errors import SteerWarning, VectorError
from vectors.concepts.library import catalog, keep, load
from vectors.concepts.vector import ConceptVector, check_fits, passport_of, same_model
from vectors.model.passport import Passport, read_passport
from vectors.model.residual_model import ResidualModel


@pytest.fixture(scope="module")
def trained() -> ResidualModel:
    """The embedded model: trained weights, unlike those of random models."""
    return vectors.load_model(device="cpu")


def variant(model: ResidualModel, change: Callable[[torch.Tensor], torch.Tensor], name: str = "twin") -> ResidualModel:
    """The model with every matrix changed."""
    hf = copy.deepcopy(model.hf)
    with torch.no_grad():
        for weight in hf.parameters():
            if weight.ndim == 2:
                weight.copy_(change(weight))
    return ResidualModel(hf, model.tokenizer, name=name, blocks_path=model.blocks_path)


def rounded(bits: int, group: int | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Rounding to integers of so many bits, with a scale for each row or group of neighbours."""

    def change(weight: torch.Tensor) -> torch.Tensor:
        groups = weight.reshape(len(weight), -1, group if group and weight.shape[1] % group == 0 else weight.shape[1])
        scale = groups.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
        return ((groups / scale).round() * scale).reshape(weight.shape)

    return change


def as_in_gguf(kind: Kind) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(weight: torch.Tensor) -> torch.Tensor:
        if weight.shape[1] % 32:
            return weight
        values = gguf.dequantize(gguf.quants.quantize(weight.numpy(), kind), kind)
        return torch.from_numpy(values.copy()).half().float()  # converted files are kept in float16

    return change


QUANTISED = {
    "int8 by row": rounded(8, None), "int8 by 32": rounded(8, 32), "int4 by 32": rounded(4, 32),
    **{kind.name: as_in_gguf(kind) for kind in (Kind.Q8_0, Kind.Q5_1, Kind.Q5_0, Kind.Q4_1, Kind.Q4_0)},
}  # fmt: skip


@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_model_is_the_same_model(trained: ResidualModel, name: str) -> None:
    twin = variant(trained, QUANTISED[name])
    assert trained.passport is not None and twin.passport is not None
    assert twin.passport.on_grid and not trained.passport.on_grid
    assert trained.passport.relation(twin.passport) == twin.passport.relation(trained.passport) == "requantised"


def test_two_quantisations_of_one_model_are_the_same_model(trained: ResidualModel) -> None:
    one, other = (variant(trained, QUANTISED[name]).passport for name in ("Q4_0", "int8 by row"))
    assert one is not None and other is not None and one.relation(other) == "requantised"


def test_eight_bits_by_torch(trained: ResidualModel) -> None:
    quantise = torch.ao.quantization.quantize_dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hf = quantise(copy.deepcopy(trained.hf), {torch.nn.Linear}, dtype=torch.qint8)
    passport = ResidualModel(hf, trained.tokenizer, blocks_path=trained.blocks_path).passport
    assert passport is not None and trained.passport is not None
    assert passport.precision == "int8" and trained.passport.relation(passport) == "requantised"


def tuned(model: ResidualModel, rate: float, steps: int = 60) -> ResidualModel:
    """The model after some steps of Adam on a few texts."""
    torch.manual_seed(0)
    hf = copy.deepcopy(model.hf).train().requires_grad_(True)
    optimiser = torch.optim.AdamW(hf.parameters(), lr=rate)
    rows = model.encode([f"The keeper counted {n} ships and {n} gulls in the rain." for n in range(8)])
    for step in range(steps):
        ids = torch.tensor([rows[step % len(rows)]])
        hf(ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return ResidualModel(hf.eval().requires_grad_(False), model.tokenizer, blocks_path=model.blocks_path)


def test_a_tuned_model_is_another_model_quantised_or_not(trained: ResidualModel) -> None:
    after = tuned(trained, 1e-4)
    assert trained.passport is not None and after.passport is not None
    assert trained.passport.relation(after.passport) == "other"
    for name in ("Q8_0", "Q4_0", "int4 by 32"):
        passport = variant(after, QUANTISED[name]).passport
        assert passport is not None and trained.passport.relation(passport) == "other", name
        base = variant(trained, QUANTISED[name]).passport
        assert base is not None and base.relation(after.passport) == "other", name


def test_other_weights_are_another_model(make_hf: Callable, make_tokenizer: Callable) -> None:
    models = [ResidualModel(make_hf(family, seed=seed), make_tokenizer()) for family, seed in
              (("llama", 0), ("llama", 1), ("gpt2", 0), ("neox", 0), ("gemma", 0))]  # fmt: skip
    for one in models:
        assert one.passport is not None
        for other in models:
            assert other.passport is not None
            assert (one.passport.relation(other.passport) == "same") == (one is other)


def test_it_is_read_from_a_file_as_it_was_written(trained: ResidualModel) -> None:
    assert trained.passport is not None
    fields = json.loads(json.dumps(trained.passport.to_dict()))
    again = Passport.from_dict(fields)
    assert again.to_dict() == trained.passport.to_dict() and len(json.dumps(fields)) < 20_000
    for key, value in {
        "family": 3, "tokenizer": "x" * 201, "n_layers": 0, "d_model": 1e400, "vocab_size": "9", "values": "AAA",
        "steps": "", "gains": "AADAfw==", "layout": None,
    }.items():  # fmt: skip
        with pytest.raises(VectorError):
            Passport.from_dict(fields | {key: value})
    with pytest.raises(VectorError):
        Passport.from_dict({**fields, "values": "A" * 10**7})
    for wrong in (None, [], {"family": "x"}, fields | {"more": 1}):
        with pytest.raises(VectorError):
            Passport.from_dict(wrong)


@pytest.fixture
def cat(trained: ResidualModel) -> ConceptVector:
    return ConceptVector(
        name="heron", model=trained.name, model_hash=trained.hash, passport=passport_of(trained), layer=1,
        direction=torch.eye(trained.d_model)[0], mean=torch.zeros(trained.d_model), gap=1.0, method="mean-difference",
        positions="all",
    )  # fmt: skip


def test_a_vector_of_the_unquantised_model_is_used_with_a_note(
    trained: ResidualModel, cat: ConceptVector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEER_HOME", str(tmp_path))
    path = keep(cat)
    twin = variant(trained, QUANTISED["Q4_0"], name="almanac-Q4_0")
    assert catalog(twin)["heron"] == path
    with pytest.warns(SteerWarning, match="was made on 'almanac' in float32; 'almanac-Q4_0' is the same model in"):
        found = load("heron", twin)
    assert found == cat and found.passport == cat.passport
    own = replace(cat, model=twin.name, model_hash=twin.hash, passport=passport_of(twin), gap=2.0)
    keep(own)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SteerWarning)
        assert load("heron", twin) == own and load("heron", trained) == cat  # each its own, in silence
    assert same_model(cat, own) == "requantised"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_cast_is_noted_too(trained: ResidualModel, cat: ConceptVector, dtype: torch.dtype) -> None:
    hf = copy.deepcopy(trained.hf).to(dtype)
    twin = ResidualModel(hf, trained.tokenizer, name="cast", blocks_path=trained.blocks_path)
    assert twin.hash == trained.hash and same_model(cat, trained) == "same"
    with pytest.warns(SteerWarning, match=f"in float32; 'cast' is the same model in {str(dtype)[6:]}"):
        check_fits(cat, twin)


def test_a_vector_of_another_model_is_refused(
    trained: ResidualModel, cat: ConceptVector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEER_HOME", str(tmp_path))
    keep(cat)
    other = variant(trained, lambda weight: weight + 0.02 * torch.randn(weight.shape))
    assert "heron" not in catalog(other)
    with pytest.raises(VectorError, match="was made for model 'almanac'"):
        check_fits(cat, other)
    with pytest.raises(VectorError, match="was made for model"):  # older vectors have no passport
        check_fits(replace(cat, passport={}), variant(trained, QUANTISED["Q4_0"]))


def test_weights_that_are_not_finite_are_said(make_hf: Callable, make_tokenizer: Callable) -> None:
    hf = make_hf("llama")
    with torch.no_grad():
        hf.model.layers[0].mlp.up_proj.weight[:] = float("nan")
    with pytest.raises(vectors.SteerError, match="hold NaN or infinity: download it again"):
        read_passport(hf, make_tokenizer(), hf.model.layers)


def test_a_linear_map_is_read_by_what_it_does(trained: ResidualModel) -> None:
    class Wrapped(torch.nn.Module):
        def __init__(self, inside: torch.nn.Linear) -> None:
            super().__init__()
            self.inside, self.in_features, self.out_features = inside, inside.in_features, inside.out_features

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.inside(inputs)

    hf = copy.deepcopy(trained.hf)
    for name, module in [*hf.named_modules()]:
        if type(module) is torch.nn.Linear and "layers" in name:
            hf.set_submodule(name, Wrapped(module))
    passport = ResidualModel(hf, trained.tokenizer, blocks_path=trained.blocks_path).passport
    assert passport is not None and trained.passport is not None
    assert np.allclose(passport.values, trained.passport.values, atol=1e-6)
