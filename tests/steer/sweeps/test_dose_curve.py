"""The dose curve: every dose is the run that sampling gives, and the alarm rings where probe and reader part."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import steer
from steer.judges.evaluation_set import EvaluationSet
from steer.judges.judge import FunctionJudge
from steer.runs.sample_set import SampleSet
from steer.statistics.estimate import Estimate
from steer.sweeps.dose_curve import DoseCurve, DoseRow
from vectors.activations.text_activations import encode_texts, text_means
from vectors.common.errors import InputError, OutputError
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

WORDS = ("sea", "ship", "wind")
REAL = tuple(f"the {a} and the {b} of the {c} ran by {d}" for a in WORDS for b in WORDS for c in WORDS for d in WORDS)
OTHER = tuple(text.replace("sea", "cat").replace("ship", "king").replace("wind", "red") for text in REAL)


@pytest.fixture
def vector(llama_model: ResidualModel) -> ConceptVector:
    from vectors import extract

    return extract(
        llama_model, "sea", positive=REAL, background=OTHER, method="mean-difference", layer=1, calibrate=False
    )


def projected(model: ResidualModel, vector: ConceptVector, texts: Sequence[str]) -> float:
    """How far texts lie along the direction, mean over them."""
    found = [
        float((means[1] @ vector.direction).sum()) for _, means in text_means(model, encode_texts(model, texts), [1])
    ]
    return sum(found) / len(texts)


def near(value: float, half: float = 0.05) -> Estimate:
    return Estimate(name="x", value=value, low=value - half, high=value + half, n=50)


def curve(*rows: tuple[float, float, float, float]) -> DoseCurve:
    made = [DoseRow(dose, near(s), near(p), near(t), near(0.2), near(0.5)) for dose, s, p, t in rows]
    return DoseCurve("sea", 50, tuple(made))


def test_the_alarm_rings_where_the_direction_finds_more_and_the_reader_less() -> None:
    assert curve((0, 0.1, 0, 0.9), (1, 0.8, 1, 0.9), (2, 0.9, 2, 0.88)).alarm is None
    assert curve((0, 0.1, 0, 0.9), (1, 0.8, 1, 0.9), (2, 0.6, 2, 0.9), (3, 0.2, 3, 0.9)).alarm == 2
    assert curve((1, 0.8, 1, 0.9), (2, 0.82, 2, 0.5)).alarm == 2
    assert curve((1, 0.8, 1, 0.9), (2, 0.6, 0.9, 0.9), (3, 0.6, 1.1, 0.9)).alarm == 3
    assert curve((1, 0.8, 1, 0.9), (2, 0.77, 2, 0.88)).alarm is None  # within the interval
    assert curve((-2, 0.9, 3, 0.9), (-1, 0.1, 4, 0.1), (0, 0.1, 5, 0.1)).alarm is None  # nothing was asked for


def test_a_dose_is_the_run_that_sampling_gives(
    llama_model: ResidualModel, vector: ConceptVector, tmp_path: Path
) -> None:
    evaluation_set = EvaluationSet(
        judges=(FunctionJudge("sea", lambda text: "sea" in text),), real=REAL, background=OTHER
    )
    options = {"n": 12, "max_tokens": 12, "seed": 3, "evaluation_set": evaluation_set, "folder": tmp_path / "doses"}
    seen: list[float] = []
    made = steer.dose_curve(
        llama_model, vector, doses=(2, -1, 0, 2), watcher=lambda row: seen.append(row.cell.dose), **options
    )
    assert [row.dose for row in made.rows] == [-1, 0, 2] == sorted(seen)
    for row in made.rows:
        texts = steer.sample(llama_model, {vector: row.dose}, n=12, max_tokens=12, seed=3).texts
        assert row.success is not None and row.success.value == sum("sea" in text for text in texts) / 12
        written = [text for text in texts if text.strip()]
        assert row.probe is not None and row.probe.low <= row.probe.value <= row.probe.high
        much, little, mine = (projected(llama_model, vector, some) for some in (REAL[:64], OTHER[:64], written))
        assert row.probe.value == pytest.approx((mine - little) / (much - little), abs=1e-4)
    assert json.loads(json.dumps(made.to_dict()))["rows"][0]["dose"] == -1
    assert len(list((tmp_path / "doses").glob("*.jsonl"))) == 3
    assert all(len(SampleSet.load(path)) == 12 for path in (tmp_path / "doses").glob("*.jsonl"))
    again = steer.dose_curve(llama_model, vector, doses=(2, -1, 0), **options)
    assert again == made


def test_without_texts_there_is_pressure_alone_and_wrong_ones_are_refused(
    llama_model: ResidualModel, vector: ConceptVector
) -> None:
    made = steer.dose_curve(llama_model, vector, doses=(0, 1), n=8, max_tokens=8)
    assert set(made.rows[0].figures) == {"pressure", "p95"} and made.rows[0].pressure.value == pytest.approx(
        0, abs=1e-9
    )
    swapped = EvaluationSet(judges=(FunctionJudge("sea", bool),), real=OTHER, background=REAL)
    with pytest.raises(InputError, match="the right way round"):
        steer.dose_curve(llama_model, vector, doses=(0, 1), n=8, max_tokens=8, evaluation_set=swapped)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_curve_is_drawn(tmp_path: Path, theme: str) -> None:
    made = curve((0, 0.1, 0, 0.9), (1, 0.8, 1, 0.9), (2, 0.6, 2, 0.9))
    assert made.plot(tmp_path / "a.png", theme=theme).shape == (2, 2)
    assert (tmp_path / "a.png").stat().st_size > 5000
    with pytest.raises(OutputError, match="exists"):
        made.plot(tmp_path / "a.png")
    with pytest.raises(InputError, match="two or more"):
        curve((0, 0.1, 0, 0.9)).plot(tmp_path / "b.png")
