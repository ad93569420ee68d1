"""`steer demo`: a tour of a minute, in the terminal: a concept off and on, two at once, a wider search, the figures."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.model_options import Device, open_model
from cli.terminal.output import emit, entry, table
from cli.terminal.progress import Progress
from vectors.common.validation import MAX_SEED, check_integer

if TYPE_CHECKING:
    from steer.reports.report import Report
    from steer.runs.sample_set import SampleSet
    from vectors.model.residual_model import ResidualModel

SHOWN = 2
STOPS = (
    ("The base model by itself, without a prompt", None, 0.0, ""),
    ("A concept switched on inside it", "cat", 0.0, 'steer compose "cat" -n 2 --seed {seed}'),
    ("Two at once", "cat + sonnet", 0.0, 'steer compose "cat + sonnet" -n 2 --seed {seed}'),
    ("The same two, every text in a direction of its own", "cat + sonnet", 1.0,
     'steer compose "cat + sonnet" -n 2 --radius 1 --seed {seed}'),
)  # fmt: skip
"""What is shown, the expression, the radius, and the command that does the same."""

Count = Annotated[int, typer.Option("-n", metavar="N", help="Texts behind each row of figures.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Of the texts.")]


def command(n: Count = 48, seed: Seed = 7, device: Device = None) -> None:
    """Take a tour: the embedded model, a concept off and on, two composed, the radius widened, and the figures."""
    check_integer(n, "-n", low=8)
    check_integer(seed, "--seed", high=MAX_SEED)
    tables = [[["", "cat", "cat and sonnet"]], [["", "pressure", "diversity"]]]
    with Progress() as progress:
        model = open_model(None, device, None, False, progress)
        from steer.reports.report import report

        for at, (title, expression, radius, repeat) in enumerate(STOPS, 1):
            runs = _sampled(model, title, expression, radius, n, seed, progress)
            emit(f"{at}. {title}\n" + (f"   $ {repeat.format(seed=seed)}\n" if repeat else ""))
            for each in runs[:SHOWN]:
                emit(entry(each))
            name = f"{at}. {expression or 'nothing'}{f', radius {radius:g}' if radius else ''}"
            for rows, found in zip(tables, (_shares(runs), _figures(report(runs, seed=seed))), strict=True):
                rows.append([name, *found])
    emit(
        f"In figures, of {n} texts each, with 95 % intervals\n\n"
        + "\n\n".join(table(rows, indent=0, whole=True) for rows in tables)
        + "\n\n"
        "cat, sonnet: share of texts in which an oracle finds them, which knows nothing\n"
        "of the directions. pressure: how far the model was pushed, nats a token.\n"
        "diversity: different texts in effect (Vendi score over words).\n\n"
        "Next: `steer` by itself shows five things to do, `steer ls` the concepts."
    )


def _sampled(
    model: "ResidualModel", title: str, expression: str | None, radius: float, n: int, seed: int, progress: Progress
) -> "SampleSet":
    from steer.sampling.sample import sample

    progress(title, 0, n)
    runs = sample(
        model, expression, n=n, radius=radius, seed=seed, progress=lambda _, done, total: progress(title, done, total)
    )
    progress.clear()
    return runs


def _shares(runs: "SampleSet") -> list[str]:
    """How many texts have the first concept, and how many have both, by the oracle."""
    from steer.judges.almanac import OracleJudge
    from steer.judges.success import success

    cat, sonnet = OracleJudge("cat"), OracleJudge("sonnet")
    return [str(success(runs, judges)) for judges in ([cat], [cat, sonnet])]


def _figures(made: "Report") -> list[str]:
    found = {figure.name: figure for figure in made.figures}
    return [str(found[name]) for name in ("pressure", "Vendi 1, words")]
