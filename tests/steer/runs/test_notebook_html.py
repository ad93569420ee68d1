from dataclasses import replace

import pytest
from helpers.pagereader import HOSTILE, read

import steer
from steer.runs.sample_set import SampleSet
from steer.sweeps.dose_curve import DoseCurve
from vectors.concepts.library import load
from vectors.model.residual_model import ResidualModel


def test_samples_show_their_texts_and_costs(run: SampleSet):
    html = run._repr_html_()
    shown = read(html)
    assert shown.open == [] and "24 samples of almanac: +1 sonnet +1 cat, radius 0.5, seed 3" in shown.text
    assert all(text in shown.text for text in run.texts[:20]) and "and 4 more" in shown.text
    assert run.texts[23] not in shown.text and SampleSet()._repr_html_() == "<p>no samples</p>"


def test_long_texts_wrap_at_narrow_widths(run: SampleSet):
    cells = [
        attributes["style"]
        for tag, attributes in read(run._repr_html_()).tags
        if tag == "div" and "style" in attributes
    ]
    assert len(cells) == 20 and all("overflow-wrap: anywhere" in style for style in cells)
    assert all("white-space: pre-wrap" in style for style in cells)


def test_hostile_texts_are_escaped(run: SampleSet):
    hostile = SampleSet(replace(each, text=text, prompt=text) for each, text in zip(run, HOSTILE, strict=False))
    assert not {tag for tag, _ in read(hostile._repr_html_()).tags} & {"script", "img"}


@pytest.mark.slow
def test_a_sweep_and_a_curve_show_their_cells(almanac: ResidualModel):
    made = steer.sweep(almanac, "cat", radii=[0.0, 1.0], n=12, max_tokens=24)
    shown = read(made._repr_html_())
    assert shown.open == [] and sum(tag == "tr" for tag, _ in shown.tags) == 3
    assert all(str(row.pressure) in shown.text for row in made.rows)
    curve = DoseCurve(name="<cat>", n=12, rows=())
    assert "<cat>: 12 samples a dose" in read(curve._repr_html_()).text


def test_a_concept_shows_its_evidence(almanac: ResidualModel):
    cat = load("cat", almanac)
    shown = read(cat._repr_html_())
    assert shown.open == [] and "39" not in shown.text[:3]
    for each in ("cat", "(dose 1)", "bos positions", "AUC on held-out texts", "makes more likely", "most typical"):
        assert each in shown.text
    assert str(cat.evidence["texts"][0]) in shown.text


@pytest.mark.parametrize(
    "evidence",
    [{}, {"layers": 3, "texts": "x", "moved": []}, {"layers": [1, {"layer": "<i>", "auc": "x"}], "moved": {"top": 1}}],
)
def test_a_concept_with_damaged_evidence_is_escaped(almanac: ResidualModel, evidence: dict[str, object]):
    damaged = replace(load("cat", almanac), model="<i>x</i>", evidence=evidence)
    assert read(damaged._repr_html_()).open == []
    assert not {tag for tag, _ in read(damaged._repr_html_()).tags} & {"i", "script"}
