import numpy as np

from steer.reports.html.pressure_plot import mean_by_position, peaks, pressure_plot, tokens_at
from steer.reports.html.token_pieces import Piece
from vectors.decoding.token_costs import Cost


def cost(*kl: float) -> Cost:
    return Cost(np.zeros(len(kl)), np.zeros(len(kl)), np.array(kl))


COSTS = [cost(0.1, 2.0, 0.1, 0.1), cost(0.1, 1.0, 0.1, 0.1), cost(0.1, 0.9, 0.1, 0.1)]
PIECES = [
    [Piece("I", 0, 0.1, 0, 0), Piece(word, 1, 1.0, 0, 0), Piece(" the end", 2, 0.2, 0, 0)]
    for word in (" <b>", " cat", " cat")
]


def test_a_peak_names_the_tokens_that_bear_most_of_it() -> None:
    line = mean_by_position([each.kl for each in COSTS])
    assert line is not None and line.y[1] == np.mean([2.0, 1.0, 0.9]) and peaks(line.y) == [1]
    assert tokens_at(1, COSTS, PIECES) == [("“<b>”", 1, 3), ("“cat”", 2, 3)]
    assert tokens_at(3, COSTS, PIECES)[0] == ("“the end”", 3, 3)  # the second token of a piece
    assert tokens_at(1, COSTS, [None, *PIECES[1:]]) == [("“cat”", 2, 2)]


def test_the_plot_says_in_text_what_its_peaks_are() -> None:
    drawn = pressure_plot({"run": COSTS}, {"run": PIECES})
    assert "token 2, 1.30 nats: “&lt;b&gt;” (1 of 3 texts), “cat” (2 of 3 texts)" in drawn and "<b>" not in drawn
    assert "token 2, 1.30 nats</li>" in pressure_plot({"run": COSTS}, {"run": [None] * 3})
    several = pressure_plot({"a": COSTS, "b": COSTS}, {"a": PIECES, "b": PIECES})
    assert "a, token 2" in several and "b, token 2" in several


def test_nothing_is_drawn_without_costs() -> None:
    assert pressure_plot({}, {}) == "" and pressure_plot({"run": [cost(0.1)] * 3}, {"run": [None] * 3}) == ""


def test_the_line_ends_where_few_texts_go_on() -> None:
    line = mean_by_position([np.ones(3), np.ones(3), np.ones(9)])
    assert line is not None and list(line.x) == [1.0, 2.0, 3.0]
