"""Sampling: seeds, dose zero, costs, records, and a model that is unchanged afterwards."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import steer
from steer.composition.steering_point import SteeringPoint
from steer.metrics.pressure import pressure
from steer.runs.sample import Sample
from steer.sampling import run_plan
from steer.sampling.replay import priced, replayed
from steer.sampling.sample import stream
from steer.search import perturbation
from steer.search.perturbation import Perturbation, concept_basis
from vectors.common.errors import InputError, ModelError, OutputError, UnsteeredError, VectorError
from vectors.concepts.vector import ConceptVector
from vectors.decoding.batch import Batch
from vectors.decoding.decode import decode
from vectors.decoding.token_sampling import Settings


def concept(model, name="cat", layer=1, seed=0, scale=4.0, **other) -> ConceptVector:
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    fields = {
        "name": name,
        "model": model.name,
        "model_hash": model.hash,
        "layer": layer,
        "direction": direction / direction.norm(),
        "mean": torch.zeros(model.d_model),
        "gap": scale,
        "method": "mean-difference",
        "positions": "all",
    }
    return ConceptVector(**(fields | other))


@pytest.fixture
def point(tiny_model) -> SteeringPoint:
    return steer.compose({concept(tiny_model): 1.0, concept(tiny_model, "sea", seed=1): 0.5})


def runs(model, point, **options):
    return steer.sample(model, point, **({"n": 8, "seed": 5, "max_tokens": 16} | options))


def test_dose_zero_is_the_plain_model(tiny_model):
    zero = steer.compose({concept(tiny_model): 0.0})
    off, base = runs(tiny_model, zero), runs(tiny_model, None)
    assert off.texts == base.texts
    for sample in off:
        assert sample.pressure["total"] == 0
        assert sample.logprob_base == sample.logprob_steered


def test_steering_changes_texts_and_costs(tiny_model, point):
    steered, base = runs(tiny_model, point), runs(tiny_model, None)
    assert steered.texts != base.texts
    assert all(sample.pressure["total"] > 0 for sample in steered)


@pytest.mark.slow
@pytest.mark.parametrize("radius", [0.0, 0.7])
def test_a_sample_is_a_pure_function_of_seed_and_index(llama_model, radius):
    at = steer.compose({concept(llama_model): 1.0})
    reference = runs(llama_model, at, n=256, radius=radius, batch_size=64)
    for other in (
        runs(llama_model, at, n=256, radius=radius, batch_size=7),
        runs(llama_model, at, n=256, radius=radius, batch_size=1),
        runs(llama_model, at, n=4, radius=radius, batch_size=64),
    ):
        same = [mine.tokens == reference[mine.index].tokens for mine in other]
        assert sum(same) >= 0.99 * len(same)
    assert runs(llama_model, at, n=4, radius=radius, seed=6).texts != reference[:4].texts


def test_costs_are_independent_of_when_rows_finish(llama_model):
    at = steer.compose({concept(llama_model): 1.5})
    for mine, other in zip(
        runs(llama_model, at, n=40, radius=0.5), runs(llama_model, at, n=40, radius=0.5, batch_size=3), strict=True
    ):
        assert mine.pressure == pytest.approx(other.pressure, rel=1e-3, abs=1e-5)
        assert mine.logprob_base == pytest.approx(other.logprob_base, rel=1e-4)


def test_base_log_probability_is_the_plain_models(tiny_model, point):
    for sample in runs(tiny_model, point, radius=0.5):
        ids = torch.tensor([[*tiny_model.start_ids(), *sample.tokens]])
        with torch.no_grad():
            scores = torch.log_softmax(tiny_model.hf(ids).logits[0, :-1].double(), dim=-1)
        expected = float(scores.gather(1, ids[0, 1:, None]).sum())
        assert sample.logprob_base == pytest.approx(expected, rel=1e-4)


def test_samples_record_their_run(tiny_model, point):
    for index, sample in enumerate(runs(tiny_model, point, radius=0.25, temperature=0.9, prompt="the cat")):
        assert sample.index == index
        assert "the cat" + sample.text == tiny_model.decode([*tiny_model.encode(["the cat"])[0], *sample.tokens])
        assert (sample.seed, sample.radius, sample.geometry) == (5, 0.25, "shell")
        assert sample.doses == {"cat": 1.0, "sea": 0.5} and sample.layer == [1]
        assert sample.prompt == "the cat" and sample.settings["temperature"] == 0.9
        assert json.loads(sample.to_json())["settings"]["positions"] == "all"


def test_concepts_are_added_at_their_own_positions_by_default(tiny_model):
    at_bos = steer.compose({concept(tiny_model, positions="bos"): 1.0})
    everywhere = steer.compose({concept(tiny_model): 1.0})
    samples = runs(tiny_model, at_bos)
    assert {sample.settings["positions"] for sample in samples} == {"bos"}
    assert samples.texts == runs(tiny_model, everywhere, positions="bos").texts
    assert samples.texts != runs(tiny_model, everywhere).texts
    assert runs(tiny_model, at_bos, positions="all").texts == runs(tiny_model, everywhere).texts


def test_concepts_made_for_different_positions_are_each_added_at_their_own(tiny_model, tmp_path):
    cat = concept(tiny_model, positions="bos", other_shifts={2: 0.2 * torch.ones(tiny_model.d_model)})
    sea = concept(tiny_model, "sea", seed=1, other_shifts={(1, "bos"): -0.1 * torch.ones(tiny_model.d_model)})
    mixed = steer.compose({cat: 1.0, sea: 1.0})
    assert set(mixed.deltas) == {(1, "bos"), (1, "not-bos"), (2, "bos")}
    samples = runs(tiny_model, mixed, radius=0.3, output=tmp_path / "run.jsonl")
    plan = run_plan.make_plan(tiny_model, mixed, run_plan.SamplingOptions(radius=0.3, seed=5))
    by_hand = decode(
        tiny_model, plan.shifts, prefix=tiny_model.start_ids(), settings=Settings(max_tokens=16), seed=5,
        indices=range(8), batch_size=3,
    )  # fmt: skip
    assert {each.index: each.tokens for each in by_hand} == {sample.index: sample.tokens for sample in samples}
    assert samples[0].settings["positions"] is None and samples[0].layer == [1, 2]
    for layer in mixed.layers:  # the doses are kept at every position
        basis = torch.from_numpy(concept_basis(mixed, layer))
        for site, rows in plan.shifts(range(3)).items():
            if site[0] == layer:
                assert torch.allclose(rows.double() @ basis.T, mixed.deltas[site].double() @ basis.T, atol=1e-5)
    assert len(replayed(tiny_model, samples, point=mixed)) == 8
    resumed = runs(tiny_model, mixed, n=10, radius=0.3, output=tmp_path / "run.jsonl", resume=True)
    assert resumed.texts[:8] == samples.texts
    start = runs(tiny_model, mixed, positions="bos")
    assert start[0].settings["positions"] == "bos" and start.texts != samples.texts
    assert len(replayed(tiny_model, start, point=mixed)) == 8


def test_a_scope_fades_shifts_at_several_positions(tiny_model):
    both = concept(tiny_model, other_shifts={(1, "bos"): torch.ones(tiny_model.d_model)})
    point = steer.compose({both: 1.0})
    samples = runs(tiny_model, point, positions="first:2")
    assert samples[0].settings["positions"] == "first:2"
    assert [sample.tokens[:2] for sample in samples] == [sample.tokens[:2] for sample in runs(tiny_model, point)]
    assert len(replayed(tiny_model, samples, point=point)) == 8


def test_the_model_is_unchanged_even_after_an_exception(make_hf, make_tokenizer, monkeypatch):
    from vectors.model.residual_model import ResidualModel

    hf = make_hf("gpt2")
    model = ResidualModel(hf, make_tokenizer())
    at = steer.compose({concept(model): 1.0})
    weights = {name: value.clone() for name, value in hf.state_dict().items()}
    ids = torch.tensor([[0, 5, 6]])

    def state():
        with torch.no_grad():
            return hf(ids).logits

    before = state()
    runs(model, at, radius=0.5)
    monkeypatch.setattr("vectors.decoding.batch.sample_tokens", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runs(model, at, radius=0.5)
    assert torch.equal(state(), before)
    assert all(torch.equal(value, weights[name]) for name, value in hf.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in hf.modules())
    assert not hf.training


def test_a_shift_without_effect_on_generated_tokens_is_refused(llama_model):
    last = steer.compose({concept(llama_model, layer=2, positions="bos"): 1.0})
    assert runs(llama_model, last, n=1)[0].pressure["total"] > 0
    with pytest.raises(UnsteeredError, match="positions bos"):
        runs(llama_model, last, prompt="the sea")


def test_between_samples_the_model_is_unsteered(llama_model):
    at, ids = steer.compose({concept(llama_model): 3.0}), torch.tensor([[0, 5, 6]])
    with torch.no_grad():
        before = llama_model.hf(ids).logits
        for _ in steer.stream(llama_model, at, n=8, max_tokens=8, batch_size=4):
            assert torch.equal(llama_model.hf(ids).logits, before)


def test_a_shift_without_effect_on_the_logits_is_refused(make_hf, make_tokenizer):
    from vectors.model.residual_model import ResidualModel

    hf = make_hf("llama")
    with torch.no_grad():
        hf.lm_head.weight.zero_()
    model = ResidualModel(hf, make_tokenizer())
    with pytest.raises(UnsteeredError, match="unchanged"):
        runs(model, steer.compose({concept(model): 1.0}))


def test_a_vector_of_another_model_is_refused(llama_model, make_hf, make_tokenizer):
    from vectors.model.residual_model import ResidualModel

    other = ResidualModel(make_hf("llama", seed=9), make_tokenizer(), name="other")
    with pytest.raises(VectorError, match="other"):
        runs(llama_model, steer.compose({concept(other): 1.0}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": -1}, "n is -1"),
        ({"radius": -0.5}, "radius"),
        ({"radius": float("nan")}, "radius"),
        ({"seed": -1}, "seed"),
        ({"batch_size": 0}, "batch_size"),
        ({"prompt": ""}, "empty"),
        ({"prompt": 5}, "prompt is 5"),
        ({"prompt": "\ud800"}, "not UTF-8"),
        ({"max_tokens": 64}, "context"),
        ({"positions": "none"}, "positions"),
        ({"force": True}, "output"),
    ],
)
def test_bad_arguments_are_refused_before_sampling(llama_model, wrong, said):
    with pytest.raises(InputError, match=said):
        runs(llama_model, steer.compose({concept(llama_model): 1.0}), **wrong)


def test_a_mapping_is_composed_and_other_values_are_refused(llama_model):
    doses = {concept(llama_model): 1.0}
    assert runs(llama_model, doses) == runs(llama_model, steer.compose(doses))
    for wrong in (5, concept(llama_model), ["cat"]):
        with pytest.raises(InputError, match="point is"):
            runs(llama_model, wrong)


def test_a_point_without_vectors_can_be_perturbed(llama_model):
    delta = torch.ones(llama_model.d_model)
    samples = runs(llama_model, steer.SteeringPoint(deltas={1: delta}, doses={}, vectors=()), radius=0.5)
    assert len({tuple(sample.tokens) for sample in samples}) > 1 and all(
        sample.pressure["mean"] > 0 for sample in samples
    )


def test_an_interrupted_run_is_completed_to_the_same_set(llama_model, tmp_path):
    at, path = steer.compose({concept(llama_model): 1.0}), tmp_path / "run.jsonl"
    whole = runs(llama_model, at, n=20, radius=0.5, output=tmp_path / "whole.jsonl")
    runs(llama_model, at, n=7, radius=0.5, output=path)
    with pytest.raises(OutputError, match="resume"):
        runs(llama_model, at, n=20, radius=0.5, output=path)
    with pytest.raises((InputError, OutputError), match="radius"):
        runs(llama_model, at, n=20, radius=0.6, output=path, resume=True)
    resumed = runs(llama_model, at, n=20, radius=0.5, output=path, resume=True)
    assert resumed.texts == whole.texts
    assert len(path.read_text().splitlines()) == 20


def test_a_run_is_not_resumed_with_a_changed_vector(llama_model, tmp_path):
    path = tmp_path / "run.jsonl"
    runs(llama_model, steer.compose({concept(llama_model): 1.0}), n=2, output=path)
    other = steer.compose({concept(llama_model, seed=1): 1.0})
    with pytest.raises(OutputError, match="its vector cat is"):
        runs(llama_model, other, n=4, output=path, resume=True)


def test_a_run_of_another_composition_or_dtype_is_not_resumed(llama_model, tmp_path):
    path, cat, sea = tmp_path / "run.jsonl", concept(llama_model), concept(llama_model, "sea", seed=1)
    runs(llama_model, steer.compose({cat: 1.0, sea: 1.0}, method="sum"), n=2, output=path)
    with pytest.raises(OutputError, match="its composition is 'sum', this run's is 'exact'"):
        runs(llama_model, steer.compose({cat: 1.0, sea: 1.0}), n=4, output=path, resume=True)
    llama_model.hf.bfloat16()
    with pytest.raises(OutputError, match="its dtype is 'float32', this run's is 'bfloat16'"):
        runs(llama_model, steer.compose({cat: 1.0, sea: 1.0}, method="sum"), n=4, output=path, resume=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelError])
def test_finished_rows_are_yielded_early_and_after_an_error(llama_model, monkeypatch, error):
    at, real = steer.compose({concept(llama_model): 1.0}), run_plan.decode
    taken = []

    def breaking(*arguments, **options):
        for finished in real(*arguments, **options):
            taken.append(finished.index)
            yield finished
            if len(taken) == 6:
                raise error

    monkeypatch.setattr(run_plan, "decode", breaking)
    samples = stream(llama_model, at, n=40, max_tokens=16, seed=5)
    first = next(samples)
    assert taken == [first.index]
    rest = []
    with pytest.raises(error):
        rest.extend(samples)
    assert [first.index, *(sample.index for sample in rest)] == taken
    assert {sample.text for sample in rest} <= set(runs(llama_model, at, n=40).texts)


def test_a_shift_too_small_for_the_dtype_is_refused(make_hf, make_tokenizer):
    from vectors.model.residual_model import ResidualModel

    model = ResidualModel(make_hf("llama").bfloat16(), make_tokenizer(), name="half")
    with pytest.raises(UnsteeredError, match="too small to change anything in bfloat16"):
        runs(model, steer.compose({concept(model): 1e-6}))
    assert len(runs(model, steer.compose({concept(model): 1.0}), n=1)) == 1


def test_settings_may_be_numbers_of_other_libraries(llama_model):
    samples = runs(llama_model, None, n=1, max_tokens=np.int64(4), temperature=np.float32(0.5), top_k=np.int64(9))
    assert samples[0].settings["max_tokens"] == 4 and json.loads(samples[0].to_json())["settings"]["temperature"] == 0.5


def test_a_continued_prompt_keeps_the_space_before_the_next_word(make_hf):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from vectors.model.residual_model import ResidualModel

    pieces = ["<bos>", "<eos>", "<unk>", *(f"▁w{number}" for number in range(61))]
    raw = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")
    model = ResidualModel(make_hf("llama"), tokenizer)
    for sample in runs(model, None, prompt="w1 w2"):
        assert "w1 w2" + sample.text == model.decode([*model.encode(["w1 w2"])[0], *sample.tokens])
    assert any(sample.text.startswith(" w") for sample in runs(model, None, prompt="w1 w2"))


def test_radius_gives_each_sample_its_own_direction_and_keeps_the_doses(llama_model):
    at = steer.compose({concept(llama_model): 1.0})
    rows = steer.perturb(at, 16, 0.5, seed=5)[1, "all"]
    vector = at.vectors[0]
    assert torch.allclose(rows @ vector.direction, torch.full((16,), vector.scale), atol=1e-4)
    assert len({tuple(row.tolist()) for row in rows}) == 16
    samples = runs(llama_model, at, n=16, radius=0.5)
    settings = Settings(max_tokens=16)
    start = llama_model.start_ids()
    done = decode(
        llama_model, lambda some: {1: rows[list(some)]}, prefix=start, settings=settings, seed=5, indices=range(16)
    )
    assert {finished.index: finished.tokens for finished in done} == {sample.index: sample.tokens for sample in samples}


def test_two_layers_are_steered_at_once(llama_model):
    low, high = concept(llama_model, layer=0), replace(concept(llama_model, "sea", layer=2, seed=1))
    both = runs(llama_model, steer.compose({low: 1.0, high: 1.0}))
    assert both[0].layer == [0, 2]
    assert both.texts not in (runs(llama_model, steer.compose({low: 1.0})).texts, runs(llama_model, None).texts)


def test_functions_are_reachable_whatever_was_imported_first():
    import steer.composition.steering_point
    import steer.sampling.sample
    import vectors.calibration.calibrate
    import vectors.extraction.extract

    for package, names in ((steer, steer.__all__), (vectors, vectors.__all__)):
        assert all(callable(getattr(package, name)) for name in names)


@pytest.mark.slow
def test_texts_of_the_embedded_model_depend_on_neither_count_nor_batch_size():
    from vectors.model.residual_model import load_model

    model = load_model(device="cpu")
    whole = steer.sample(model, "sonnet + cat", n=64, radius=0.5, seed=7)
    few = steer.sample(model, "sonnet + cat", n=4, radius=0.5, seed=7)
    sevens = steer.sample(model, "sonnet + cat", n=28, radius=0.5, seed=7, batch_size=7)
    same = [one.tokens == other.tokens for part in (few, sevens) for one, other in zip(part, whole, strict=False)]
    assert len(same) == 32 and sum(same) >= 31  # matrix kernels may break a tie otherwise


def test_non_finite_logits_are_recorded_in_one_text_and_refused_in_all(llama_model, monkeypatch):
    at, real = steer.compose({concept(llama_model): 1.0}), Perturbation.shifts

    def broken(numbers):
        def shifts(self, indices):
            hit = torch.tensor([index in numbers for index in indices])[:, None]
            return {layer: rows.masked_fill(hit, float("nan")) for layer, rows in real(self, indices).items()}

        return shifts

    monkeypatch.setattr(Perturbation, "shifts", broken({2}))
    samples = runs(llama_model, at, n=5)
    assert [sample.finish for sample in samples].count("not-finite") == 1
    assert samples[2].finish == "not-finite" and samples[2].tokens == [] and samples[2].text == ""
    assert Sample.from_json(samples[2].to_json()) == samples[2]
    monkeypatch.setattr(Perturbation, "shifts", broken({0, 1, 2, 3, 4}))
    with pytest.raises(ModelError, match="logits under this shift in every text that are not finite: lower the doses"):
        runs(llama_model, at, n=5)


def test_without_costs_the_texts_are_the_same(tiny_model, point):
    with_costs, without = (runs(tiny_model, point, radius=0.5, costs=costs) for costs in (True, False))
    assert without.texts == with_costs.texts
    for sample, other in zip(without, with_costs, strict=True):
        assert sample.pressure is None and sample.logprob_base is None
        assert sample.logprob_steered == pytest.approx(other.logprob_steered, rel=1e-4)
        assert Sample.from_json(sample.to_json()) == sample
    with pytest.raises(InputError, match="sample 0 was sampled without its costs"):
        pressure(without)
    samples = priced(without, replayed(tiny_model, without, point=point))
    for sample, other in zip(samples, with_costs, strict=True):
        assert sample.pressure == pytest.approx(other.pressure, rel=1e-3, abs=1e-5)
        assert sample.logprob_base == pytest.approx(other.logprob_base, rel=1e-4)
    assert priced(with_costs, replayed(tiny_model, with_costs, point=point)) == with_costs


def test_unsteered_texts_have_costs_even_without_costs(llama_model):
    assert [sample.pressure["total"] for sample in runs(llama_model, None, costs=False)] == [0.0] * 8


def test_calibrated_samples_need_costs(llama_model, tmp_path):
    at = steer.compose({concept(llama_model): 1.0})
    with pytest.raises(InputError, match="leave costs=False out"):
        runs(llama_model, at, calibrated=True, costs=False)
    runs(llama_model, at, n=2, costs=False, output=tmp_path / "run.jsonl")
    with pytest.raises(OutputError, match="its costs is False"):
        runs(llama_model, at, n=4, output=tmp_path / "run.jsonl", resume=True)
    budget = runs(llama_model, at, n=2, costs=False, max_pressure=0.05)  # the pilot knows what it costs
    assert 0 < budget[0].settings["scale"] < 1 and budget[0].pressure is None


def test_logits_that_are_not_finite_end_a_text_without_costs_too(make_hf, make_tokenizer):
    from vectors.model.residual_model import ResidualModel

    model = ResidualModel(make_hf("llama"), make_tokenizer())
    broken = {1: torch.full((1, 32), float("inf"))}
    made = list(
        decode(
            model, lambda some: {1: torch.cat([broken[1] if i == 1 else 0 * broken[1].nan_to_num() for i in some])},
            prefix=[0], settings=Settings(max_tokens=6), seed=1, indices=range(3), costs=False,
        )
    )  # fmt: skip
    assert {each.index: each.finish == "not-finite" for each in made} == {0: False, 1: True, 2: False}


def test_a_batch_draws_its_directions_in_one_call_and_values_are_checked_once(llama_model, monkeypatch):
    at, shifts, begin = steer.compose({concept(llama_model): 1.0}), Perturbation.shifts, Batch.start
    calls, begun, checks, bases = [], [], [], []
    monkeypatch.setattr(Perturbation, "shifts", lambda self, some: calls.append(len(some)) or shifts(self, some))
    monkeypatch.setattr(Batch, "start", lambda self, some: begun.append(len(some)) or begin(self, some))
    for name in ("check_radius", "check_geometry"):
        check = getattr(run_plan, name)
        monkeypatch.setattr(run_plan, name, lambda value, name=name, check=check: checks.append(name) or check(value))
    monkeypatch.setattr(perturbation, "check_radius", lambda _: pytest.fail("the plan has checked it"))
    monkeypatch.setattr(perturbation, "concept_basis", lambda *layer: bases.append(layer) or concept_basis(*layer))
    runs(llama_model, at, n=32, radius=0.5, batch_size=16, max_tokens=4)
    assert checks == ["check_radius", "check_geometry"] and len(bases) == 1
    assert calls == [1, *(count for count in begun if count)] and calls[1] == 16  # the first row checks the plan
