"""Tables of a report in 80 columns: each figure with its interval, and its sentence below."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cli.terminal.output import dim, table, width, wrap
from vectors.common.validation import escape_invisible

if TYPE_CHECKING:
    from steer.metrics.fidelity import Fidelity
    from steer.reports.comparison import Comparison
    from steer.reports.report import Report
    from steer.reports.summary import Summary


def summary_block(path: str, n: int, summary: "Summary") -> str:
    """Lay out the summary of a report: one sentence, then four figures with a sentence each."""
    label_width = max(len(figure.label) for figure in summary.figures)
    lines = [f"{escape_invisible(path)}: {n} texts", "", wrap(f"{summary.sentence}.", width()), ""]
    for figure in summary.figures:
        lines.append(f"  {figure.label:<{label_width}}  {figure.value}")
        lines.append(_sentence(figure.meaning, indent=label_width + 4))
    return "\n".join(lines)


def report_table(report: "Report") -> str:
    """Lay out one report: a table for each section, each figure with its interval and its sentence."""
    from steer.reports.glossary import COLUMNS, SECTIONS, label, meaning

    figures = [figure for members in report.sections.values() for figure in members]
    for columns in (["real texts", "failure", "n"], ["real texts", "n"], ["n"]):  # as many as fit
        rows = [["", "value (95 % interval)", *columns]]
        for estimate in figures:
            cells = {"real texts": estimate.perfect, "failure": estimate.empty}
            texts = {name: format_short(value) for name, value in cells.items()} | {"n": str(estimate.n)}
            rows.append([f"  {label(estimate.name)}", str(estimate), *(texts[column] for column in columns)])
        block = table(rows, right=(2, 3, 4), indent=0, whole=True)
        if _fits(block):
            break
    head, *lines = block.split("\n")
    legend = "; ".join(f"{column}: {COLUMNS[column]}" for column in columns)
    blocks, explained, remaining = [f"{head}\n{_sentence(f'{legend}.', indent=0)}"], set[str](), iter(lines)
    for section, members in report.sections.items():
        section_lines = [f"{section}: {SECTIONS[section]}" if section in SECTIONS else section]
        for figure in members:
            section_lines.append(next(remaining))
            if figure.name not in explained and meaning(figure.name):
                section_lines.append(_sentence(meaning(figure.name), indent=6))
            explained.add(figure.name)
        blocks.append("\n".join(section_lines))
    if report.fidelity is not None:
        blocks.append(fidelity_table(report.fidelity))
    return "\n\n".join(blocks)


def several_reports_table(reports: Sequence["Report"]) -> str:
    """Lay out several reports: a row for each figure and a column for each run, as many columns as fit."""
    blocks = []
    remaining = list(enumerate(reports, 1))
    while remaining:
        count = next((count for count in range(len(remaining), 1, -1) if _fits(_side_by_side(remaining[:count]))), 1)
        blocks.append(_side_by_side(remaining[:count]))
        remaining = remaining[count:]
    return "\n\n".join(blocks)


def _fits(block: str) -> bool:
    return max(map(len, block.splitlines())) <= width()


def _side_by_side(numbered: Sequence[tuple[int, "Report"]]) -> str:
    from steer.reports.glossary import label

    reports = [report for _, report in numbered]
    rows = [["", *(str(number) for number, _ in numbered)]]
    for section in dict.fromkeys(name for report in reports for name in report.sections):
        by_name = [{figure.name: figure for figure in report.sections.get(section, ())} for report in reports]
        rows += [[""] * len(rows[0]), [section, *[""] * len(reports)]]
        for name in dict.fromkeys(name for figures in by_name for name in figures):
            rows.append([f"  {label(name)}", *(str(figures.get(name, "-")) for figures in by_name)])
    return table(rows + _fidelity_rows(reports), indent=0, whole=True)


def _fidelity_rows(reports: Sequence["Report"]) -> list[list[str]]:
    """Return a row for each attribute's total variation distance, if any report has one."""
    distances: list[Mapping[str, object]] = [
        {row.attribute: row.tv for row in (report.fidelity.attributes if report.fidelity else ())} for report in reports
    ]
    names = dict.fromkeys(name for by_name in distances for name in by_name)
    if not names:
        return []
    head = [[""] * (len(reports) + 1), ["what else moved (TV)", *[""] * len(reports)]]
    return [*head, *([f"  {name}", *(str(by_name.get(name, "-")) for by_name in distances)] for name in names)]


def fidelity_table(fidelity: "Fidelity") -> str:
    """Lay out how close each attribute that was not steered stays to the truth: shares, then rates of events."""
    from steer.judges.reference import format_condition  # imports numpy
    from steer.reports.glossary import FIDELITY_COLUMNS

    condition = format_condition(fidelity.given)
    head = f"what else moved, in the {fidelity.n} of {fidelity.asked} texts with {escape_invisible(condition)}"
    blocks = [head if condition else f"what else moved, in {fidelity.n} texts"]
    events = {event.event for event in fidelity.events}
    rows = [["", "TV (95 % interval)", "by chance", "at most", "one value", "JS", "moved?"]]
    for row in fidelity.attributes:
        if row.attribute not in events:
            numbers = (row.tv.perfect, row.ceiling, row.tv.empty, row.js.value)
            rows.append([f"  {row.attribute}", str(row.tv), *map(format_short, numbers), _moved(row.kept)])
    columns = []
    if len(rows) > 1:
        columns += ["TV", "by chance", "at most", "one value", "JS"]
        blocks.append(table(rows, right=(2, 3, 4, 5), indent=0, whole=True))
    if fidelity.events:
        rates = [["", "rate (95 % interval)", "truth", "p", "moved?"]]
        for event in fidelity.events:
            cells = [f"  {event.event}", str(event.observed), f"{event.truth[0]:.4f}", f"{event.p:.2g}"]
            rates.append([*cells, _moved(event.kept)])
        columns += ["truth", "p"]
        blocks.append(table(rates, right=(2, 3), indent=0, whole=True))
    meanings = "; ".join(f"{column}: {FIDELITY_COLUMNS[column]}" for column in columns)
    return "\n".join([*blocks, *([_sentence(f"{meanings}.", indent=2)] if columns else [])])


def comparison_table(comparisons: Mapping[str, tuple["Comparison", ...]]) -> str:
    """Lay out the figures of two runs side by side, with differences and p-values."""
    from steer.reports.glossary import label

    rows = [["", "A", "B", "B - A (95 % interval)", "p"]]
    for section, members in comparisons.items():
        rows += [[""] * 5, [section, *[""] * 4]]
        for row in members:
            values = [format_short(figure.value) for figure in (row.first, row.second)]
            rows.append([f"  {label(row.first.name)}", *values, str(row.difference), f"{row.p:.3f}"])
    return table(rows, right=(1, 2, 4), indent=0, whole=True)


def format_short(value: float | None) -> str:
    """Return a number to three significant digits, or an empty text for None."""
    return "" if value is None else f"{value:.3g}"


def _moved(is_unchanged: bool) -> str:
    return "no" if is_unchanged else "yes"


def _sentence(text: str, *, indent: int) -> str:
    """Return a sentence, wrapped and indented, in faint type on a terminal."""
    lines = wrap(text, max(20, width() - indent)).split("\n")
    return "\n".join(dim(" " * indent + line) for line in lines)
