import pytest

from steer.judges.evaluation_set import EvaluationSet
from steer.judges.judge import FunctionJudge
from steer.judges.success import accepted
from steer.reports.html.grouping import ASKED, ENDING, group_keys, requested_group, similarity_groups, text_groups
from steer.reports.report import Report
from steer.runs.sample_set import SampleSet


@pytest.mark.slow
def test_what_was_asked_for_is_what_the_judges_say(run: SampleSet, measured: Report):
    kinds = text_groups(run, measured.evaluation_set)
    hits = accepted(run, measured.evaluation_set.judges)
    assert [each[ASKED] == "all of it" for each in kinds] == hits.tolist()
    for each, hit in zip(kinds, hits, strict=True):
        assert hit == (each["form"] == "sonnet" and each["voice"] == "cat")
        assert each[ENDING] in ("ended", "cut")
    assert {"details", "mood", "hour", "topic"} <= set(kinds[0])


def test_one_judge_finds_it_or_does_not():
    evaluation_set = EvaluationSet(judges=(FunctionJudge("texts", lambda text: "cat" in text),))
    assert [requested_group(text, evaluation_set)[ASKED] for text in ("a cat", "a dog")] == ["found", "not found"]


def test_without_an_evaluation_set_only_the_ending_is_known(run: SampleSet):
    assert text_groups(run, EvaluationSet())[0] == {ENDING: "ended"}
    assert group_keys([{"a": "x", "b": "y"}, {"a": "x", "b": "z"}]) == ["b"]


def test_likeness_tells_two_kinds_of_texts_apart():
    texts = [f"the cat purrs and naps {i}" for i in range(8)] + [f"a storm tears sails {i}" for i in range(8)]
    groups = similarity_groups(texts)
    assert groups is not None
    assert len(set(groups[:8])) == len(set(groups[8:])) == 1 and groups[0] != groups[8]
    assert "cat" in groups[0] or "purrs" in groups[0] or "naps" in groups[0]
    assert groups == similarity_groups(texts)


@pytest.mark.parametrize("texts", [["one"] * 4, [""] * 20, ["same words"] * 20, [f"w{i}" for i in range(20)]])
def test_texts_that_cannot_be_told_apart_are_not(texts: list[str]):
    groups = similarity_groups(texts)
    assert groups is None or len(groups) == len(texts)
