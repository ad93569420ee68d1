"""Read the texts of `steer extract` from its options: two files, one file with labels or pairs, or none."""

from typing import TYPE_CHECKING, Any

from cli.options.text_options import TextOptions, both_sides
from cli.terminal.output import note
from vectors.common.errors import InputError
from vectors.common.validation import quote

if TYPE_CHECKING:
    from vectors.model.residual_model import ResidualModel


def contrast_from(
    positive: str | None,
    background: str | None,
    source: str | None,
    where: str | None,
    pairs: str | None,
    weight: str | None,
    *,
    reading: TextOptions,
    model: "ResidualModel | None",
    needed: bool,
) -> dict[str, Any]:
    """Read the texts and return them as arguments of `vectors.extract`.

    Raises:
        InputError: options that exclude each other, no texts although `needed`, or files that cannot be read.
    """
    from vectors.data.contrast import ContrastSet
    from vectors.data.text_files import read_contrast, read_pairs

    ways = {
        "--positive": positive is not None or background is not None,
        "--from": source is not None or where is not None,
        "--pairs": pairs is not None,
    }
    chosen = [way for way, given in ways.items() if given]
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)} both give the texts: give one of them")
    if weight is not None and chosen != ["--from"]:
        raise InputError("--weight names a field of --from: give the texts by --from and --where")
    if not chosen:
        if needed:
            raise InputError(
                "there are no texts: give --positive FILE (and --background FILE, unless the model is to sample it), "
                "or --from FILE with --where, or --pairs FILE"
            )
        return {}
    if pairs is not None:
        if reading.text_column is not None:
            raise InputError(
                "--text-column names one column, and pairs have two: give --positive-column and --negative-column"
            )
        contrast = read_pairs(
            pairs, format=reading.format, positive=reading.positive_column, background=reading.negative_column,
            how=reading.how(model),
        )  # fmt: skip
    elif source is not None or where is not None:
        if source is None or where is None:
            raise InputError("--from FILE and --where key=value go together: give both")
        _refuse_two_columns(reading)
        contrast = read_contrast(
            source, where, format=reading.format, field=reading.text_column, weight=weight, how=reading.how(model)
        )
    else:
        if positive is None:
            raise InputError("--background alone does not define a concept: give --positive FILE as well")
        if background is None:
            return {"positive": reading.positives(positive, model), "background": None}
        contrast = ContrastSet(*both_sides(positive, background, reading, model))
    return {
        "positive": contrast.positive,
        "background": contrast.background,
        "paired": contrast.paired,
        "weights": contrast.weights,
    }


def labels_from(
    source: str | None,
    key: str,
    others: dict[str, str | None],
    *,
    reading: TextOptions,
    model: "ResidualModel | None",
) -> tuple[list[str], list[list[str]]]:
    """Read texts and the concepts that each has, for `--each`; names that are made from labels are shown in notes.

    Raises:
        InputError: no file, options that exclude `--each`, or labels that no names can be made from.
    """
    from vectors.data.labels import concept_names
    from vectors.data.text_files import read_labels

    if given := [option for option, value in others.items() if value is not None]:
        raise InputError(f"--each makes a concept of each value, with all other texts as background: drop {given[0]}")
    if source is None:
        raise InputError(f"--each {quote(key)} needs texts with labels: give --from FILE")
    _refuse_two_columns(reading)
    texts, labels = read_labels(source, key, format=reading.format, field=reading.text_column, how=reading.how(model))
    names = concept_names((label for values in labels for label in values), key)
    for label, name in names.items():
        if label != name:
            note(f"note: {quote(label)} becomes {name}")
    return texts, [[names[label] for label in values] for values in labels]


def _refuse_two_columns(reading: TextOptions) -> None:
    if reading.positive_column is not None or reading.negative_column is not None:
        raise InputError(
            "--positive-column and --negative-column are for --pairs and for two files: with --from, the texts are in "
            "--text-column"
        )
