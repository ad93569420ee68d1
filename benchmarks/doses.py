"""Success, the direction's own score, typicality and pressure over doses: `python benchmarks/doses.py`."""

import argparse

from harness import Options, embedded, shared_out
from report import table, write

import steer
from steer.sweeps.dose_curve import DoseCurve

NAMES = ("cat", "sonnet", "sea", "gloomy", "midnight", "snow")
DOSES = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


def curve_of(name: str, options: Options) -> DoseCurve:
    """One concept over all doses."""
    return steer.dose_curve(embedded(), name, doses=DOSES, n=options.n, seed=options.seed)


def main() -> None:
    """Measure every concept and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    Options.add_to(parser)
    given = parser.parse_args()
    options = Options(given.n, given.pressure, given.seed)
    curves = list(shared_out(curve_of, NAMES, options, quiet=True))
    rows = [
        [
            made.name if not place else "", f"{row.dose:g}",
            *("-" if figure is None else str(figure) for figure in (row.success, row.probe, row.typical)),
            f"{row.pressure.value:.3f}", f"{row.p95.value:.2f}", "alarm" if row.dose == made.alarm else "",
        ]
        for made in curves
        for place, row in enumerate(made.rows)
    ]  # fmt: skip
    body = (
        f"`steer.dose_curve`, {options.n} samples a dose at radius 0. Success is by the oracle; the probe is the "
        "direction itself, 0 as in texts without the concept and 1 as in real texts with it; typical is the share in "
        "the central nine tenths of real texts; pressure is in nats per token. The alarm is the first dose at which "
        "the probe is above its value at the dose before while success or typicality is below its best by more than "
        "chance.\n\n" + table(("concept", "dose", "success", "probe", "typical", "pressure", "p95", ""), rows)
    )
    write("doses", "What a dose does", body, seed=given.seed)


if __name__ == "__main__":
    main()
