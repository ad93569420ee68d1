"""Plots of plain series: what is drawn, where it is written, and which requests are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot

from steer.statistics.estimate import Estimate
from steer.sweeps.plots import plot_panels, plot_plane, share_of_real
from vectors.common.errors import InputError, OutputError

RADII = (0.0, 0.5, 1.0)
NAMES = ("success", "diversity", "typical", "pressure")


def estimate(value: float, perfect: float | None = None) -> Estimate:
    return Estimate(name="x", value=value, low=value * 0.8, high=value * 1.1, n=30, perfect=perfect)


def rows(*, typical: bool = True) -> list[dict[str, Estimate]]:
    values = [(0.9, 4.0, 0.85, 0.1), (0.8, 6.0, 0.8, 0.2), (0.5, 7.0, 0.7, 0.4)]
    found = [
        dict(zip(NAMES, (estimate(s), estimate(d, 8.0), estimate(t, 0.9), estimate(p)), strict=True))
        for s, d, t, p in values
    ]
    return found if typical else [{name: each[name] for name in NAMES if name != "typical"} for each in found]


def panels(**options: Any) -> Any:
    given: dict[str, Any] = {"axis": "radius", "title": "cat", "theme": "light", "path": None}
    return plot_panels(RADII, rows(), NAMES, **(given | options))


def plane(**options: Any) -> Any:
    lines = {
        "radius": [(radius, row["success"], row["diversity"]) for radius, row in zip(RADII, rows(), strict=True)],
        "temperature": [(1.0, estimate(0.9), estimate(4.0))],
    }
    given: dict[str, Any] = {"labels": ("success", "diversity"), "title": "cat", "theme": "light", "path": None}
    return plot_plane(lines, **(given | options))


@pytest.fixture(autouse=True)
def no_figures_left() -> Any:
    yield
    pyplot.close("all")


def test_panels_show_values_intervals_and_real_texts() -> None:
    axes = panels(mark=0.75)
    assert axes.shape == (2, 2)
    success, diversity, typical, _ = axes.flat
    assert success.lines[0].get_xydata().tolist() == [[0.0, 0.9], [0.5, 0.8], [1.0, 0.5]]
    assert diversity.lines[0].get_ydata().tolist() == [0.5, 0.75, 0.875]  # relative to as many real texts
    assert diversity.get_ylabel().endswith("(of real texts')")
    assert [line.get_linestyle() for line in typical.lines] == ["-", ":", "--"]  # values, real texts, the mark
    assert typical.lines[1].get_ydata()[0] == 0.9 and typical.lines[2].get_xdata()[0] == 0.75
    band = success.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(0.4) and band.max() == pytest.approx(0.99)


def test_a_panel_without_estimates_says_so() -> None:
    axes = plot_panels(RADII, rows(typical=False), NAMES, axis="radius", title="cat")
    assert [text.get_text() for text in axes[1][0].texts] == ["not measured"] and not axes[1][0].lines


def test_a_plane_labels_each_point_and_leaves_single_points_out() -> None:
    axes = plane()
    assert [text.get_text() for text in axes.texts] == ["0", "0.5", "1"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["radius"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("success", "diversity")


@pytest.mark.parametrize("draw", [panels, plane])
@pytest.mark.parametrize(("theme", "background"), [("light", (255, 255, 255)), ("dark", (13, 17, 23))])
def test_pictures_are_written_in_either_theme(
    tmp_path: Path, draw: Any, theme: str, background: tuple[int, int, int]
) -> None:
    draw(path=tmp_path / "a.png", theme=theme)
    draw(path=tmp_path / "a.svg", theme=theme)
    corner = pyplot.imread(tmp_path / "a.png")[0, 0, :3]
    assert np.allclose(corner * 255, background, atol=1) and b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert pyplot.get_fignums() == []  # figures that are written are not registered with pyplot
    with pytest.raises(OutputError, match="exists"):
        draw(path=tmp_path / "a.png")
    draw(path=tmp_path / "a.png", force=True)


def test_without_a_path_the_figure_is_one_of_pyplot() -> None:
    axes = panels()
    assert [axes[0][0].figure.number] == pyplot.get_fignums()


@pytest.mark.parametrize("draw", [panels, plane])
def test_bad_requests_are_refused_and_nothing_is_written(tmp_path: Path, draw: Any) -> None:
    with pytest.raises(InputError, match="end its name"):
        draw(path=tmp_path / "x.gif")
    with pytest.raises(InputError, match="theme is"):
        draw(path=tmp_path / "x.png", theme="pink")
    with pytest.raises(InputError, match="there is 1 radius"):
        plot_panels(RADII[:1], rows()[:1], NAMES, axis="radius", title="cat", path=tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_the_share_of_real_texts_keeps_the_interval() -> None:
    share = share_of_real(estimate(4.0, 8.0))
    assert (share.value, share.low, share.high, share.perfect) == (0.5, 0.4, pytest.approx(0.55), 1.0)
    assert share_of_real(estimate(4.0)) == estimate(4.0)
