"""`steer demo`: a tour of a minute: no concept, one, two, a radius, with a summary of each."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.model_options import Device, open_model
from cli.terminal.output import emit, entry, table, width, wrap
from cli.terminal.progress import Progress
from vectors.common.validation import MAX_SEED, check_integer

if TYPE_CHECKING:
    from steer.reports.report import Report
    from steer.runs.sample_set import SampleSet
    from vectors.model.residual_model import ResidualModel

SHOWN = 2
STOPS = (
    ("The base model, without prompt and without steering", None, 0.0, "steer compose -n 2 --seed {seed}"),
    ("One concept", "cat", 0.0, 'steer compose "cat" -n 2 --seed {seed}'),
    ("Two concepts", "cat + sonnet", 0.0, 'steer compose "cat + sonnet" -n 2 --seed {seed}'),
    ("Two concepts, and a random shift for each text", "cat + sonnet", 1.0,
     'steer compose "cat + sonnet" -n 2 --radius 1 --seed {seed}'),
)  # fmt: skip
"""Title, expression, radius, and a command that samples the same texts."""

Count = Annotated[int, typer.Option("-n", metavar="N", help="Texts behind each row of the tables.")]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of the texts.")]


def command(n: Count = 48, seed: Seed = 7, device: Device = None) -> None:
    """Run this for a tour of a minute.

    It samples the embedded model without steering, with one concept, with two, and with a radius. Each time it prints
    two texts and one sentence: how many texts have the concepts, how varied they are, what steering costs and what
    else moved.
    """
    check_integer(n, "-n", low=8)
    check_integer(seed, "--seed", high=MAX_SEED)
    tables = [[["", "cat", "cat and sonnet"]], [["", "pressure", "diversity"]]]
    with Progress() as progress:
        model = open_model(None, device, None, False, progress)
        from steer.reports.report import report
        from steer.reports.summary import summarise

        for number, (title, expression, radius, repeat) in enumerate(STOPS, 1):
            samples = _sample(model, title, expression, radius, n, seed, progress)
            emit(f"{number}. {title}\n   $ {repeat.format(seed=seed)}\n")
            for sample in samples[:SHOWN]:
                emit(entry(sample))
            progress("measuring")
            metrics = report(samples, seed=seed)
            name = f"{number}. {expression or 'no concept'}{f', radius {radius:g}' if radius else ''}"
            for rows, cells in zip(tables, (_success_rates(samples), _costs(metrics)), strict=True):
                rows.append([name, *cells])
            progress.clear()
            emit(wrap(f"{summarise(samples, metrics).sentence}.", width()) + "\n")
    emit(
        f"Metrics of {n} texts in each row, with 95 % intervals\n\n"
        + "\n\n".join(table(rows, indent=0, whole=True) for rows in tables)
        + "\n\n"
        "cat, sonnet: share of texts with the concept, by rules that know the model's\n"
        "training texts. pressure: KL divergence of the steered from the base model,\n"
        "nats per token. diversity: effective number of different texts (Vendi score).\n\n"
        "Next: `steer` prints five things to do, `steer ls` all concepts."
    )


def _sample(
    model: "ResidualModel", title: str, expression: str | None, radius: float, n: int, seed: int, progress: Progress
) -> "SampleSet":
    from steer.sampling.sample import sample

    progress(title, 0, n)
    samples = sample(
        model, expression, n=n, radius=radius, seed=seed, progress=lambda _, done, total: progress(title, done, total)
    )
    progress.clear()
    return samples


def _success_rates(samples: "SampleSet") -> list[str]:
    """Return the share of texts with the first concept, and with both."""
    from steer.judges.almanac import OracleJudge
    from steer.judges.success import success

    cat, sonnet = OracleJudge("cat"), OracleJudge("sonnet")
    return [str(success(samples, judges)) for judges in ([cat], [cat, sonnet])]


def _costs(report: "Report") -> list[str]:
    estimates = {estimate.name: estimate for estimate in report.figures}
    return [str(estimates[name]) for name in ("pressure", "Vendi 1, words")]
