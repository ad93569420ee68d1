"""Read the texts of `steer extract` from its options: two files, one file with labels or pairs, or none."""

from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import quote


def contrast_from(
    positive: str | None,
    background: str | None,
    source: str | None,
    where: str | None,
    pairs: str | None,
    weight: str | None,
    *,
    needed: bool,
) -> dict[str, Any]:
    """Read the texts and return them as arguments of `vectors.extract`.

    Raises:
        InputError: options that exclude each other, no texts although `needed`, or files that cannot be read.
    """
    from vectors.data.contrast import ContrastSet
    from vectors.data.text_files import read_contrast, read_pairs, read_texts

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
        contrast = read_pairs(pairs, format=_format(pairs))
    elif source is not None or where is not None:
        if source is None or where is None:
            raise InputError("--from FILE and --where key=value go together: give both")
        contrast = read_contrast(source, where, format=_format(source), weight=weight)
    else:
        if positive is None:
            raise InputError("--background alone does not define a concept: give --positive FILE as well")
        if positive == background == "-":
            raise InputError("stdin can be read only once: give one of --positive and --background as a file")
        texts = read_texts(positive)
        if background is None:
            return {"positive": texts, "background": None}
        contrast = ContrastSet(texts, read_texts(background))
    return {
        "positive": contrast.positive,
        "background": contrast.background,
        "paired": contrast.paired,
        "weights": contrast.weights,
    }


def labels_from(source: str | None, key: str, others: dict[str, str | None]) -> tuple[list[str], list[list[str]]]:
    """Read texts and the labels of each, for `--each`.

    Raises:
        InputError: no file, or options that exclude `--each`.
    """
    from vectors.data.text_files import read_labels

    if given := [option for option, value in others.items() if value is not None]:
        raise InputError(f"--each makes a concept of each value, with all other texts as background: drop {given[0]}")
    if source is None:
        raise InputError(f"--each {quote(key)} needs texts with labels: give --from FILE")
    return read_labels(source, key, format=_format(source))


def _format(path: str) -> str | None:
    return "jsonl" if path == "-" else None
