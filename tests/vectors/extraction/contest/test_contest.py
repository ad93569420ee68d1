"""The contest finds what is planted, judges at equal pressure, and goes on from its finished parts."""

from pathlib import Path

import pytest
import torch
from helpers.contrast_texts import CATS, SHIPS

import vectors
from vectors.activations.text_activations import encode_by_text
from vectors.calibration.checkpoint import Checkpoint
from vectors.calibration.equal_pressure import PRESSURE, Effect, rank
from vectors.calibration.word_judge import WordJudge
from vectors.common.errors import InputError, VectorError
from vectors.data.contrast import ContrastSet
from vectors.extraction.contest import contest as module
from vectors.extraction.contest import plan as plan_module
from vectors.extraction.contest.candidate import Candidate
from vectors.extraction.contest.contest import Choices, hold_contest
from vectors.extraction.contest.learned import MOST, Teacher
from vectors.extraction.contest.means import mean_candidates, profile_layers
from vectors.extraction.contest.plan import Plan, Speed
from vectors.extraction.contest.winner import main_site
from vectors.extraction.extraction_input import ExtractionInput
from vectors.extraction.shifts.learned_shift import Learning
from vectors.model.residual_model import ResidualModel

SMALL = Plan(
    means=3, mean_texts=8, mean_texts_again=8, learned=2, steps=4, further_steps=0, rounds=0,
    learned_texts=8, best_texts_again=8, pilot_texts=8,
)  # fmt: skip


def inputs(model: ResidualModel, **changes: object) -> ExtractionInput:
    contrast = ContrastSet(CATS, SHIPS)
    tokens = encode_by_text(model, [*CATS, *SHIPS])
    fields = {"model": model, "fit": contrast, "tokens": tokens, "layers": (0, 1, 2), "positions": "all"}
    return ExtractionInput(**(fields | changes))  # type: ignore[arg-type]


def fake_effects(monkeypatch: pytest.MonkeyPatch, success: dict[str, float]) -> list[str]:
    """Give each candidate a success by the words in its label; return the labels in the order of their judgement."""
    judged: list[str] = []

    def effect(label: str, n: int) -> Effect:
        judged.append(label)
        return Effect(1.0, next((value for words, value in success.items() if words in label), 0.0), PRESSURE, n)

    labels: dict[int, str] = {}
    real = Candidate.label.fget  # type: ignore[attr-defined]

    def label(candidate: Candidate) -> str:
        name: str = real(candidate)
        labels[id(candidate.shifts)] = name
        return name

    monkeypatch.setattr(Candidate, "label", property(label))
    monkeypatch.setattr(module, "measure_effect", lambda _m, shifts, _j, *, n, **_: effect(labels[id(shifts)], n))
    monkeypatch.setattr(
        module, "more_samples", lambda _m, shifts, _j, before, *, n, **_: effect(labels[id(shifts)], before.n + n)
    )
    return judged


def test_learned_candidates_begin_at_the_best_layer_and_the_best_of_all_wins(
    llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = fake_effects(monkeypatch, {"distilled, layer 1": 0.9, "mean-difference, layer 1": 0.6, "learned": 0.4})
    winner, entries = hold_contest(
        inputs(llama_model),
        WordJudge(CATS, SHIPS),
        Plan(**{**SMALL.to_dict(), "means": 6}),
        Choices(),
        Checkpoint(None, {}),
    )
    assert winner.label == "distilled, layer 1, bos + decay:4 + all, 4 steps"
    assert [entry.candidate.label for entry in entries[:2]] == [winner.label, "mean-difference, layer 1, all"]
    assert entries[0].effect.n == SMALL.learned_texts + SMALL.best_texts_again and entries[0].round == "last"
    learned = [label for label in dict.fromkeys(judged) if label.startswith(("distilled", "learned"))]
    assert len(learned) == SMALL.learned and all("layer 1" in label for label in learned)


def test_the_field_limits_what_takes_part(llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = fake_effects(monkeypatch, {"layer 2": 0.5})
    data = inputs(llama_model, positions="generated", layers=(2,))
    choices = Choices(layers=(2,), positions="generated")
    _, entries = hold_contest(data, WordJudge(CATS, SHIPS), SMALL, choices, Checkpoint(None, {}))
    assert {site for entry in entries for site in entry.candidate.shifts} == {(2, "generated")} and judged
    only, _ = hold_contest(
        inputs(llama_model), WordJudge(CATS, SHIPS), SMALL, Choices(methods=("distilled",)), Checkpoint(None, {})
    )
    assert only.method == "distilled"
    with pytest.raises(VectorError, match="no method of none takes part"):
        hold_contest(
            inputs(llama_model), WordJudge(CATS, SHIPS), SMALL, Choices(methods=("none",)), Checkpoint(None, {})
        )


def test_means_are_differences_of_means(llama_model: ResidualModel) -> None:
    data = inputs(llama_model)
    single, profile, *_, whitened = mean_candidates(data, [0, 1], [0, 1, 2])
    difference = data.moments()[0].difference.float()
    assert torch.equal(single.shifts[0, "all"], difference)
    assert torch.allclose(profile.shifts[0, "all"], difference / 3)
    assert whitened.method == "lda" and whitened.layers == [1]
    assert float(whitened.shifts[1, "all"].norm()) == pytest.approx(
        float(data.moments()[1].difference.norm()), rel=1e-4
    )
    assert profile_layers(2) == [0] and len(profile_layers(80)) == 8


def test_a_learned_candidate_makes_its_texts_likelier(llama_model: ResidualModel) -> None:
    data = inputs(llama_model)
    differences = {layer: moments.difference for layer, moments in data.moments().items()}
    candidate = Teacher(data).learn("learned", [1], ("bos", "all"), differences, steps=30)
    assert set(candidate.shifts) == {(1, "bos"), (1, "all")} and candidate.most == MOST
    gains = vectors.activations.text_likelihood.likelihood_gains(
        llama_model, llama_model.encode(CATS), candidate.shifts
    )
    assert sum(gains) > 0
    assert main_site(candidate) == (1, "all")


def test_learning_on_makes_the_texts_likelier_still(llama_model: ResidualModel) -> None:
    data = inputs(llama_model)
    differences = {layer: moments.difference for layer, moments in data.moments().items()}
    teacher, rows = Teacher(data), llama_model.encode(CATS)
    first = teacher.learn("learned", [1], ("bos", "all"), differences, steps=10)
    further = teacher.learn_further(first, steps=30)
    assert (first.steps, further.steps) == (10, 40) and further.label != first.label
    gains = [
        sum(vectors.activations.text_likelihood.likelihood_gains(llama_model, rows, candidate.shifts))
        for candidate in (first, further)
    ]
    assert gains[1] > gains[0]


def test_the_best_learned_candidate_is_learned_further(
    llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = fake_effects(monkeypatch, {"7 steps": 0.9, "distilled-free": 0.6, "mean": 0.2})
    plan = Plan(**{**SMALL.to_dict(), "learned": 3, "further_steps": 3})
    best, entries = hold_contest(inputs(llama_model), WordJudge(CATS, SHIPS), plan, Choices(), Checkpoint(None, {}))
    assert (best.method, best.steps) == ("distilled-free", 7)
    assert sum("7 steps" in label for label in judged) == 2  # judged, and judged again
    assert [entry.row()["steps"] for entry in entries].count(4) == 3


def test_the_best_of_all_that_learned_learns_from_rewards(
    llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_effects(monkeypatch, {"rewarded": 0.9, "distilled-free": 0.6, "mean": 0.2})
    plan = Plan(**{**SMALL.to_dict(), "learned": 3, "rounds": 3, "round_texts": 16})
    data, judge = inputs(llama_model), WordJudge(CATS, SHIPS)
    best, _ = hold_contest(data, judge, plan, Choices(), Checkpoint(None, {}))
    assert (best.method, best.steps) == ("rewarded", 4)
    only, _ = hold_contest(data, judge, plan, Choices(methods=("distilled-free",)), Checkpoint(None, {}))
    assert only.method == "distilled-free"
    monkeypatch.setattr(module, "FEWEST_TEXTS", len(CATS) + 1)
    few, _ = hold_contest(data, judge, plan, Choices(), Checkpoint(None, {}))
    assert few.method == "distilled-free"


def test_extraction_holds_a_contest_by_default(llama_model: ResidualModel, tmp_path: Path) -> None:
    how = {"positive": CATS, "background": SHIPS, "held_out": 0.5}
    vector = vectors.extract(llama_model, "cat", budget="100k", checkpoint=tmp_path / "parts", **how)  # type: ignore[arg-type]
    tried = vector.evidence["tried"]
    assert {row["method"] for row in tried} >= {"mean-difference", "distilled"} and vector.unit_curve
    assert tried[0]["method"] == vector.method and set(tried[0]["layers"]) == set(vector.layers)
    assert list((tmp_path / "parts").iterdir())
    again = vectors.extract(llama_model, "cat", budget="100k", checkpoint=tmp_path / "parts", **how)  # type: ignore[arg-type]
    assert again.evidence == vector.evidence and torch.equal(again.direction, vector.direction)
    plain = vectors.extract(llama_model, "cat", calibrate=False, **how)  # type: ignore[arg-type]
    assert (
        plain.method == "distilled" and plain.layers == (1,) and set(plain.all_positions) == {"bos", "decay:4", "all"}
    )
    with pytest.raises(InputError, match="a budget is for a contest"):
        vectors.extract(llama_model, "cat", method="pca", budget="1m", **how)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a budget is for samples"):
        vectors.extract(llama_model, "cat", calibrate=False, budget="1m", **how)  # type: ignore[arg-type]


def test_a_contest_with_a_budget_of_time_goes_on_though_the_machine_is_slower_now(
    llama_model: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"positive": CATS, "background": SHIPS, "held_out": 0.5, "budget": "10m", "checkpoint": tmp_path}
    speeds = iter([Speed(0.5, 2.0, 2.0), Speed(0.9, 4.0, 4.0)])
    monkeypatch.setattr(plan_module, "measure_speed", lambda _: next(speeds))
    real, judged = module.measure_effect, list[int]()

    def interrupted(*args: object, **options: object) -> Effect:
        judged.append(1)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return real(*args, **{**options, "n": 8})  # type: ignore[arg-type]

    monkeypatch.setattr(module, "measure_effect", interrupted)
    monkeypatch.setattr(module, "more_samples", lambda _m, _s, _j, effect, **_: effect)
    with pytest.raises(KeyboardInterrupt):
        vectors.extract(llama_model, "cat", **how)  # type: ignore[arg-type]
    vector = vectors.extract(llama_model, "cat", **how)  # type: ignore[arg-type]
    assert len(judged) == 1 + len(vector.evidence["tried"])  # the two before the interrupt are not judged again


def test_texts_are_drawn_by_their_weights(llama_model: ResidualModel) -> None:
    weights = {text: float("sang" in text) for text in CATS}
    data = inputs(llama_model, fit=ContrastSet(CATS, SHIPS, weights=weights))
    read: list[str] = []
    for method in ("distilled", "learned"):
        for lesson in Teacher(data)._lesson(method).batches:
            read += [llama_model.decode(text) for text in lesson.texts]
    assert read and all("sang" in text for text in read)


def test_options_of_other_methods_are_refused(llama_model: ResidualModel) -> None:
    for option in ({"words": ["cat"]}, {"how": Learning()}, {"stability": True}):
        with pytest.raises(InputError, match="is a contest and takes no"):
            vectors.extract(llama_model, "cat", positive=CATS, background=SHIPS, **option)  # type: ignore[arg-type]


def test_a_model_without_a_start_token_gets_a_difference_of_means(
    llama_model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_model, "bos_id", None)
    vector = vectors.extract(llama_model, "cat", positive=CATS, background=SHIPS, calibrate=False)
    assert vector.method == "mean-difference" and vector.positions == "all"


def test_effects_are_ranked_by_success_and_then_by_pressure() -> None:
    effects = [Effect(1.0, 0.5, 0.4, 8), Effect(1.0, 0.6, 0.5, 8), Effect(1.0, 0.6, 0.3, 8)]
    assert max(effects, key=rank) is effects[2]
