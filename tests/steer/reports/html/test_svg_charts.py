import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.reports.html.svg_charts import WIDTH, Series, draw_histogram, draw_intervals, draw_lines, ticks
from steer.statistics.estimate import Estimate


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, size: float):
    found = ticks(low, low + size)
    assert 1 <= len(found) <= 13
    slack = size * 1e-6
    assert low - slack <= found[0] and found[-1] <= low + size + slack


def test_an_interval_lies_where_its_numbers_are_and_says_them():
    whole = Estimate(name="a", value=0.5, low=0.25, high=0.75, n=9, perfect=1.0, empty=0.0)
    drawn = draw_intervals([whole, None], labels=["1", "2"])
    assert "1 0.50 (0.25 to 0.75), real texts 1, failure 0; 2 not measured" in drawn
    dot = float(re.search(r'circle class="dot" cx="([\d.]+)"', drawn)[1])
    ends = [float(each) for each in re.search(r'class="span" x1="([\d.]+)" x2="([\d.]+)"', drawn).groups()]
    assert dot == pytest.approx(sum(ends) / 2, abs=0.1) and ends[0] < ends[1]


def test_lines_and_bars_stay_on_the_picture_and_are_told_apart():
    course = Series([1.0, 2.0, 3.0], [0.1, 3.0, 0.2], [0.0, 2.0, 0.1], [0.2, 4.0, 0.3])
    drawn = draw_lines(
        {"one": course, "a much longer name.jsonl": course},
        title="t",
        across="token",
        up="nats",
        labels=[(2.0, 3.0, "“<cat>”")],
    )
    assert "“&lt;cat&gt;”" in drawn
    assert 'class="line s0"' in drawn and 'class="line s1"' in drawn and "one: highest 3 at 2, 0.2 at the end" in drawn
    drawn += draw_histogram(np.linspace(0, 1, 5).tolist(), [0.5, 0.0, 0.25, 0.25], title="t", across="x", up="y")
    assert len(re.findall('class="bar"', drawn)) == 3
    assert all(0 <= float(x) <= WIDTH for x in re.findall(r' x="(-?[\d.]+)"', drawn))
