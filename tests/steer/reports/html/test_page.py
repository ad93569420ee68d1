import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from helpers.pagereader import HOSTILE, read

import steer
from steer.reports.glossary import meaning
from steer.reports.report import Report
from steer.reports.summary import summarise
from steer.runs.sample_set import SampleSet
from vectors.common.errors import InputError
from vectors.model.residual_model import ResidualModel


@pytest.fixture(scope="module")
def made(almanac: ResidualModel, run: SampleSet, measured: Report) -> str:
    return steer.page({"run.jsonl": run}, [measured], model=almanac)


@pytest.mark.slow
def test_nothing_is_loaded_from_anywhere(made: str):
    found = read(made)
    for tag, attributes in found.tags:
        assert tag not in ("link", "img", "iframe", "object", "base"), tag
        assert "src" not in attributes and not any(name.startswith("on") or name == "style" for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", made)


def test_only_its_own_style_and_script_may_run(made: str):
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', made)[1])
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", made, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_text_is_there_token_by_token_with_what_each_cost(made: str, run: SampleSet, measured: Report):
    articles = re.findall(r"<article .*?</article>", made, re.DOTALL)
    assert len(articles) == len(run)
    by_index = {int(re.search(r"<h4[^>]*>(\d+)", each)[1]): each for each in articles}
    for sample, cost in zip(run, measured.costs, strict=True):
        tokens = re.findall(r'data-t="(\S+) (\S+) (\S+)">', by_index[sample.index])
        assert len(tokens) == len(sample.tokens)
        kl, base, steered = zip(*[[float(each) for each in token] for token in tokens], strict=True)
        assert kl == pytest.approx(cost.kl.tolist(), rel=0.01, abs=1e-9)
        assert base == pytest.approx(cost.logprob_base.tolist(), rel=0.01)
        assert steered == pytest.approx(cost.logprob_steered.tolist(), rel=0.01)
        text = re.search(r'<p class="text">(.*?)</p>', by_index[sample.index], re.DOTALL)[1]
        assert read(text).text == sample.text + ("end" if sample.finish == "eos" else "")


def test_every_figure_is_there_with_its_interval_and_its_meaning(made: str, measured: Report):
    shown = read(made).text
    for figure in measured.figures:
        assert str(figure) in shown
        assert meaning(figure.name) and meaning(figure.name) in shown, figure.name
    assert measured.fidelity is None or "total variation" in shown


def test_it_leads_with_one_sentence_and_four_figures_then_the_texts(made: str, run: SampleSet, measured: Report):
    shown = read(made).text
    summary = summarise(run, measured)
    places = [shown.index(each) for each in (summary.sentence, *(figure.value for figure in summary.figures))]
    assert places == sorted(places)
    heads = re.findall(r"<h2[^>]*>([^<]+)", made)
    assert heads == ["Summary", "Texts", "Figures", "What else moved"]
    assert "Peaks, with the tokens that bear most of them" in shown and re.search(r"token \d+, [\d.]+ nats: “", shown)


def test_it_can_be_read_out(made: str):
    """Headings go down one step at a time, every table, control and picture has a name, and no id comes twice."""
    tags = read(made).tags
    assert ("html", {"lang": "en"}) in tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert made.count("<table>") == made.count("<caption>") > 3
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "svg")
    controls = [attributes for tag, attributes in tags if tag in ("input", "select")]
    assert len(controls) == 5 and made.count("<label>") == 5
    ids = [attributes["id"] for _, attributes in tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for _, attributes in tags if "aria-labelledby" in attributes]
    assert set(named) <= set(ids)


def test_every_tag_is_closed(made: str):
    assert read(made).open == []


def test_texts_that_hold_markup_and_controls_are_only_texts(run: SampleSet):
    hostile = SampleSet(replace(each, text=HOSTILE[each.index % len(HOSTILE)]) for each in run[:10])
    made = steer.page({"<b>bold</b>": hostile}, [steer.report(hostile)])
    tags = read(made).tags
    assert sum(tag == "script" for tag, _ in tags) == 1 and not any(tag in ("img", "b") for tag, _ in tags)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\u2066\ufeff]", made)
    assert "it needs the model" in made and "data-t" not in re.sub("<script>.*?</script>", "", made, flags=re.DOTALL)


def test_several_runs_stand_side_by_side(almanac: ResidualModel, run: SampleSet, measured: Report):
    other = SampleSet(replace(each, radius=1.5) for each in run)
    made = steer.page({"a.jsonl": run, "b.jsonl": other}, [measured, measured], model=almanac)
    (keys,) = (json.loads(html.unescape(each)) for each in re.findall('data-keys="([^"]+)"', made))
    assert made.count("<article") == 2 * len(run) and "run 2" in made
    kinds = [json.loads(html.unescape(each)) for each in re.findall('data-kinds="([^"]+)"', made)]
    assert sorted(each[keys.index("run")] for each in kinds) == ["a.jsonl"] * len(run) + ["b.jsonl"] * len(run)


@pytest.mark.slow
def test_a_run_without_costs_is_priced(almanac: ResidualModel):
    cheap = steer.sample(almanac, "cat", n=8, seed=1, costs=False)
    made = steer.page({"cheap": cheap}, [steer.report(cheap, model=almanac)], model=almanac)
    assert "Texts by their pressure" in made and "None" not in read(made).text


@pytest.mark.parametrize("reports", [0, 2])
def test_another_number_of_reports_is_refused(run: SampleSet, measured: Report, reports: int):
    with pytest.raises(InputError, match=f"1 runs and {reports} reports"):
        steer.page({"run": run}, [measured] * reports)
