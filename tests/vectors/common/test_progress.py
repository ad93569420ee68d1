import io
from contextlib import redirect_stderr

import pytest

import steer
import vectors
from vectors.common.errors import InputError
from vectors.common.progress import ProgressBars, count_progress, progress_callback, with_progress_bars
from vectors.model.residual_model import ResidualModel


def test_true_shows_bars_and_closes_them():
    @with_progress_bars
    def job(*, progress=None):
        tell = progress_callback(progress)
        for done in range(1, 4):
            tell("reading", done, 3)
        tell("thinking", 0, 0)
        return progress

    shown = io.StringIO()
    with redirect_stderr(shown):
        bars = job(progress=True)
    assert isinstance(bars, ProgressBars) and bars._bar is None
    assert "reading" in shown.getvalue() and "3/3" in shown.getvalue() and "thinking 00:00" in shown.getvalue()
    assert "?it/s" not in shown.getvalue().split("thinking")[-1]


def test_bars_are_closed_after_an_error():
    with pytest.raises(ZeroDivisionError), redirect_stderr(io.StringIO()), ProgressBars() as bars:
        bars("reading", 1, 3)
        raise ZeroDivisionError
    assert bars._bar is None


@pytest.mark.parametrize("given", [None, False])
def test_nobody_listens_and_nothing_is_said(given: bool | None, capfd: pytest.CaptureFixture[str]):
    more = count_progress(progress_callback(given), "reading", 2)
    more(1)
    assert capfd.readouterr() == ("", "")


def test_long_jobs_tell_how_far_they_are(llama_model: ResidualModel):
    told: list[tuple[str, int, int]] = []
    positive, background = ["the cat sang"] * 6 + ["a cat ran"] * 6, ["the sea rose"] * 6 + ["a storm fell"] * 6
    cat = vectors.extract(
        llama_model, "cat", positive=positive, background=background, method="mean-difference", layer=1,
        calibrate=False, progress=lambda *what: told.append(what),
    )  # fmt: skip
    assert ("reading texts", 18, 18) in told or any(done == of > 0 for _, done, of in told)
    told.clear()
    point = steer.compose({cat: 1.0})
    runs = steer.sample(llama_model, point, n=5, max_tokens=4, progress=lambda *what: told.append(what))
    assert told == [("sampling", done, 5) for done in range(1, 6)]
    told.clear()
    steer.report(runs, model=llama_model, point=point, progress=lambda *what: told.append(what))
    assert ("replaying the texts of the run", 5, 5) in told


@pytest.mark.parametrize("progress", [5, "yes", True])
def test_anything_but_a_function_is_refused(progress: object):
    with pytest.raises(InputError, match="give a function"):
        progress_callback(progress)  # True is replaced by bars before it comes here
