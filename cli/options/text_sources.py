"""The texts that `steer extract` is given: two files, one with labels or pairs, or none."""

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
    """Read the texts one way or the other, and return them as `vectors.extract` takes them.

    Raises:
        InputError: options that do not go together, none where texts are `needed`, or files that cannot be read.
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
        raise InputError(f"{' and '.join(chosen)} both say where the texts are: give one of them")
    if weight is not None and chosen != ["--from"]:
        raise InputError("--weight names a field beside the texts: give them by --from and --where")
    if not chosen:
        if needed:
            raise InputError(
                "there are no texts: give --positive FILE, and --background FILE where the model's own texts will not "
                "do, or --from FILE with --where, or --pairs FILE"
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
            raise InputError("--background says what the concept is not: give --positive FILE as well")
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
    """Read texts and what each of them has, for `--each`.

    Raises:
        InputError: no file, or options that say something else about the texts.
    """
    from vectors.data.text_files import read_labels

    if given := [option for option, value in others.items() if value is not None]:
        raise InputError(f"--each takes every value of a key as a concept, the rest as its background: drop {given[0]}")
    if source is None:
        raise InputError(f"--each {quote(key)} needs texts with labels: give --from FILE")
    return read_labels(source, key, format=_format(source))


def _format(path: str) -> str | None:
    return "jsonl" if path == "-" else None
