"""Figures laid out in columns of 80 characters: each with its interval, beside what it could at best be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.terminal.output import table, width
from vectors.common.validation import escape_invisible

if TYPE_CHECKING:
    from steer.metrics.fidelity import Fidelity
    from steer.reports.comparison import Comparison
    from steer.reports.report import Report


def one_report(path: str, made: "Report") -> str:
    """Lay out one run: every figure with its interval, and what a perfect and an empty sampler would show."""
    rows = [["", "value (95 % interval)", "perfect", "empty", "n"]]
    for section, figures in made.sections.items():
        rows += [[""] * 5, [section, *[""] * 4]]
        for each in figures:
            rows.append([f"  {each.name}", str(each), bare(each.perfect), bare(each.empty), str(each.n)])
    blocks = [f"{escape_invisible(path)}: {made.n} texts", table(rows, right=(2, 3, 4), indent=0, whole=True)]
    if made.fidelity is not None:
        blocks.append(fidelity_table(made.fidelity))
    return "\n\n".join(blocks)


def many_reports(paths: Sequence[str], made: Sequence["Report"]) -> str:
    """Lay out several runs: a row for each figure, a column for each run, as many side by side as there is room for."""
    blocks = ["\n".join(f"{at}  {escape_invisible(path)}: {made[at - 1].n} texts" for at, path in enumerate(paths, 1))]
    rest = list(enumerate(made, 1))
    while rest:
        at_once = next((count for count in range(len(rest), 1, -1) if _fits(_side_by_side(rest[:count]))), 1)
        blocks.append(_side_by_side(rest[:at_once]))
        rest = rest[at_once:]
    return "\n\n".join(blocks)


def _fits(block: str) -> bool:
    return max(map(len, block.splitlines())) <= width()


def _side_by_side(numbered: Sequence[tuple[int, "Report"]]) -> str:
    made = [each for _, each in numbered]
    rows = [["", *(str(number) for number, _ in numbered)]]
    for section in dict.fromkeys(name for each in made for name in each.sections):
        by_name = [{figure.name: figure for figure in each.sections.get(section, ())} for each in made]
        rows += [[""] * len(rows[0]), [section, *[""] * len(made)]]
        for name in dict.fromkeys(name for found in by_name for name in found):
            rows.append([f"  {name}", *(str(found.get(name, "-")) for found in by_name)])
    return table(rows + _fidelities(made), indent=0, whole=True)


def _fidelities(made: Sequence["Report"]) -> list[list[str]]:
    """Rows of each attribute's total variation, where there are any."""
    found = [{each.attribute: each.tv for each in (one.fidelity.attributes if one.fidelity else ())} for one in made]
    names = dict.fromkeys(name for each in found for name in each)
    if not names:
        return []
    head = [[""] * (len(made) + 1), ["fidelity (TV)", *[""] * len(made)]]
    return [*head, *([f"  {name}", *(str(each.get(name, "-")) for each in found)] for name in names)]


def fidelity_table(found: "Fidelity") -> str:
    """Lay out how close every unsteered attribute stays to the truth: shares, then rates of events."""
    from steer.judges.reference import format_condition  # which needs numpy, as nothing else here does

    given = format_condition(found.given)
    lines = [f"fidelity: {found.n} of {found.asked} texts have what is given ({escape_invisible(given)})"]
    if not given:
        lines = [f"fidelity: of {found.n} texts; nothing is given"]
    events = {each.event for each in found.events}
    rows = [["", "TV (95 % interval)", "perfect", "up to", "stuck", "JS", ""]]
    for each in found.attributes:
        if each.attribute not in events:
            shown = [bare(value) for value in (each.tv.perfect, each.ceiling, each.tv.empty, each.js.value)]
            rows.append([f"  {each.attribute}", str(each.tv), *shown, _verdict(each.kept)])
    if len(rows) > 1:
        lines.append(table(rows, right=(2, 3, 4, 5), indent=0, whole=True))
    if found.events:
        rates = [["", "rate (95 % interval)", "truth", "p", ""]]
        for event in found.events:
            cells = [f"  {event.event}", str(event.observed), f"{event.truth[0]:.4f}", f"{event.p:.2g}"]
            rates.append([*cells, _verdict(event.kept)])
        lines.append(table(rates, right=(2, 3), indent=0, whole=True))
    return "\n".join(lines)


def comparison_table(made: dict[str, tuple["Comparison", ...]]) -> str:
    """Lay out the figures of two runs side by side, with differences and p-values."""
    rows = [["", "A", "B", "B - A (95 % interval)", "p"]]
    for section, compared in made.items():
        rows += [[""] * 5, [section, *[""] * 4]]
        for row in compared:
            sides = [bare(each.value) for each in (row.first, row.second)]
            rows.append([f"  {row.first.name}", *sides, str(row.difference), f"{row.p:.3f}"])
    return table(rows, right=(1, 2, 4), indent=0, whole=True)


def bare(value: float | None) -> str:
    """Return a number to three digits, or nothing for none."""
    return "" if value is None else f"{value:.3g}"


def _verdict(kept: bool) -> str:
    return "kept" if kept else "moved"
