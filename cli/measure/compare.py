"""`steer compare`: two saved runs side by side, with differences and p-values."""

import json

from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust
from cli.options.run_options import (
    Background,
    Positive,
    Run,
    Seed,
    evaluation_set_of,
    judge_texts,
    model_of,
    read_run,
    vectors_of,
)
from cli.options.text_options import TextOptions, with_text_options
from cli.terminal.output import emit, emit_json, note
from cli.terminal.progress import Progress
from cli.terminal.report_tables import comparison_table
from vectors.common.validation import MAX_SEED, check_integer, escape_invisible


@with_text_options
def command(
    first: Run,
    second: Run,
    positive: Positive = None,
    background: Background = None,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    seed: Seed = 0,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Print the figures of two runs side by side, with differences and permutation p-values.

    Both are judged by the concepts of the first. A p-value says how often two runs of one sampler would
    differ as much.
    """
    check_integer(seed, "--seed", high=MAX_SEED)
    runs = [read_run(first), read_run(second)]
    from steer.reports.comparison import check_comparable, compare

    check_comparable(*runs)
    with Progress() as progress:
        with_model = model_of(runs, model, device, dtype, trust_remote_code, progress, base)
        progress("comparing")
        texts = judge_texts(positive, background, reading, with_model)
        evaluation_set = evaluation_set_of(vectors_of(runs[0], with_model), texts, seed)
        comparisons = compare(runs[0], runs[1], evaluation_set=evaluation_set, model=with_model, seed=seed)
    for text in evaluation_set.notes if evaluation_set else ():
        note(f"note: {text}")
    if as_json:
        for section, rows in comparisons.items():
            for row in rows:
                sides = {"first": row.first.to_dict(), "second": row.second.to_dict()}
                emit_json(json.dumps({"section": section, **sides, "difference": row.difference.to_dict(), "p": row.p}))
        return
    emit(f"A  {escape_invisible(first)}: {len(runs[0])} texts\nB  {escape_invisible(second)}: {len(runs[1])} texts\n")
    emit(comparison_table(comparisons))
