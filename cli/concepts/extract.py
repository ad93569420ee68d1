"""`steer extract`: learn a concept from texts and store it in the user's library."""

import json
import shlex
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options.concept_options import Layer, check_file, check_free, layers_of
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, model_flags, open_model
from cli.options.prompt_options import AsExamples, Describe, Prompt, Prompts, prompts_from
from cli.options.text_options import TextOptions, with_text_options
from cli.options.text_sources import contrast_from, labels_from
from cli.terminal.output import emit, emit_json, figure, note, record
from cli.terminal.progress import Progress
from cli.terminal.run_notes import note_natural_gap
from cli.terminal.time_estimate import announce, extraction_seconds, sampling_seconds
from cli.terminal.tried_table import tried_table
from vectors.common.errors import InputError, SteerError
from vectors.common.option_names import CONTEST_METHODS, METHODS, POOLS
from vectors.common.validation import MAX_SEED, check_integer, check_name, quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector
    from vectors.model.residual_model import ResidualModel

_SHOWN = 72  # characters of a text that is shown while the work goes on

UNFINISHED = "unfinished"
"""Folder, in that of the model, of the finished parts of interrupted extractions."""

Name = Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the concept in expressions.")]
Positive = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Texts with the concept: a file or a folder; - reads stdin."),
]
Background = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Texts of the same kind, without the concept or mixed.  [default: sampled from the model]"
    ),
]
From = Annotated[str | None, typer.Option("--from", metavar="FILE", help="One file with both; with --where or --each.")]
Where = Annotated[
    str | None, typer.Option(metavar="KEY=VALUE", help="Rows of --from with the concept; the others are background.")
]
Each = Annotated[
    str | None, typer.Option(metavar="KEY", help="Extract one concept for each value of this key, named after it.")
]
Pairs = Annotated[
    str | None, typer.Option(metavar="FILE", help='Two versions a row: {"positive": "...", "negative": "..."}.')
]
Weight = Annotated[str | None, typer.Option(metavar="KEY", help="Field of --from with the weight of a text.")]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME", help=f"auto tries several methods, layers and positions; or distilled, {', '.join(METHODS)}."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME|TOKENS", help="Work of --method auto, such as 90s, 10m or 300k tokens.  [default: fixed]"
    ),
]
Positions = Annotated[
    str | None,
    typer.Option(metavar="WHICH", help="Positions to steer: bos, all, generated, not-bos.  [default: by method]"),
]
Pooling = Annotated[
    str, typer.Option("--pool", metavar="NAME", help=f"How a text's activations are pooled: {', '.join(POOLS)}.")
]
Words = Annotated[
    str | None, typer.Option(metavar="A,B", help="For --method token: the words to make likelier.  [default: NAME]")
]
NoCalibrate = Annotated[
    bool, typer.Option("--no-calibrate", help="Skip the pilot that measures the unit: dose 1 is the natural gap.")
]
Stability = Annotated[
    bool | None,
    typer.Option(
        "--stability/--no-stability",
        help="Extract again from each half of the texts and compare.  [default: if that is quick]",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(metavar="S", help="Seed of the held-out split, of learning and of the pilot.")]
Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="FILE", help="Also write the vector to a .safetensors file.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a concept or file of that name.")]


@with_text_options
def command(
    name: Name = None,
    positive: Positive = None,
    background: Background = None,
    source: From = None,
    where: Where = None,
    each: Each = None,
    pairs: Pairs = None,
    weight: Weight = None,
    prompt: Prompt = None,
    prompts: Prompts = None,
    describe: Describe = None,
    as_examples: AsExamples = False,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    method: Method = "auto",
    budget: Budget = None,
    layer: Layer = "auto",
    positions: Positions = None,
    pool: Pooling = "mean",
    words: Words = None,
    no_calibrate: NoCalibrate = False,
    stability: Stability = None,
    seed: Seed = 0,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    output: Output = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run this to learn a concept from texts and store it in your library.

    Give texts with the concept as --positive and other texts as --background, or one file --from and the rows with the
    concept by --where. A file is what it holds: one text a line, JSON in any usual shape, csv, parquet and others.
    """
    check_integer(seed, "--seed", high=MAX_SEED)
    layers: int | str | Sequence[int] = layers_of(layer)
    for option, value, known in (("--method", method, (*CONTEST_METHODS, *METHODS)), ("--pool", pool, POOLS)):
        if value not in known:
            raise InputError(f"{option} is {quote(value)}: choose from {', '.join(known)}")
    if positions is not None:
        from vectors.model.positions import check_positions

        check_positions(positions)
    if budget is not None:
        if method not in CONTEST_METHODS:
            raise InputError(f"--budget is for --method auto or distilled, not {method}: leave one of them out")
        from vectors.extraction.contest.plan import Budget as Limit

        Limit.parse(budget)
    options: dict[str, Any] = {
        "method": method,
        "budget": budget,
        "positions": positions,
        "pool": pool,
        "calibrate": not no_calibrate,
        "seed": seed,
    }
    loaded, labels = None, None
    if reading.chat:
        with Progress() as progress:
            loaded = open_model(model, device, dtype, trust_remote_code, progress)
    if each is not None:
        if name is not None or output is not None:
            what = "NAME" if name is not None else "--output"
            raise InputError(f"--each makes one concept for each value, named after it: leave {what} out")
        others: dict[str, str | None] = {
            "--positive": positive, "--background": background, "--where": where, "--pairs": pairs,
            "--weight": weight, "--words": words, "--prompts": prompts, "--describe": describe,
            "--prompt": prompt[0] if prompt else None,
        }  # fmt: skip
        texts, labels = labels_from(source, each, others, reading=reading, model=loaded)
        names = sorted({name for values in labels for name in values})
    else:
        if name is None:
            raise InputError("the concept has no name: give one, such as `steer extract storm --positive storms.txt`")
        names = [check_name(name)]
        given = {"--positive": positive, "--from": source, "--where": where, "--pairs": pairs}
        used = [option for option, value in given.items() if value is not None]
        written = prompts_from(prompt, prompts, describe, others=used, reading=reading, model=loaded)
        if as_examples and (positive is None or written is not None):
            raise InputError("--as-examples makes prompts of the texts of --positive: give that")
        needed = method != "token" and written is None
        if written is not None and background is not None:
            contrast: dict[str, Any] = {"background": reading.backgrounds(background, loaded)}
        else:
            contrast = contrast_from(
                positive, background, source, where, pairs, weight, reading=reading, model=loaded, needed=needed
            )
        if as_examples:
            contrast |= {"paired": False, "weights": None}
        if words is not None and method != "token":
            raise InputError("--words is for --method token: leave it out")
        word_list = None if words is None else [word.strip() for word in words.split(",") if word.strip()]
        more: dict[str, Any] = {"words": word_list, "stability": stability, "prompts": written}
        options |= contrast | more | {"as_examples": as_examples}
        texts = contrast.get("positive") or []
    if output is not None:
        check_file(output, force)
    with Progress() as progress:
        loaded = loaded or open_model(model, device, dtype, trust_remote_code, progress, base)
        for block in [layers] if isinstance(layers, int) else [] if isinstance(layers, str) else layers:
            loaded.check_layer(block)
        from vectors.common.paths import writable_model_folder

        progress.clear()
        if not force:
            for one in names:
                check_free(one, loaded)
        folder = writable_model_folder(loaded.name, loaded.hash)  # refuse before the work and not after it
        unfinished = folder / UNFINISHED
        note(f"seed {seed}")
        if not reading.chat and getattr(loaded.tokenizer, "chat_template", None):
            note(
                f"note: {quote(loaded.name)} is a chat model, and is read and sampled without its chat template: its "
                "texts vary less than those of a base model"
            )
        progress("estimating the time")
        seconds, shorter = extraction_seconds(
            loaded, method, layers, texts, positions=positions, calibrate=not no_calibrate, budget=budget
        )
        seconds *= len(names)
        if each is None and texts and options.get("background") is None and loaded.bos_id is not None:
            from vectors.extraction.extract import n_own_texts

            seconds += sampling_seconds(loaded, n_own_texts(len(texts)), 64, costs=False)
        progress.clear()
        announce(seconds, shorter=shorter, at_most=method == "learned")
        vectors = []
        for vector in _extracted(loaded, names, texts, labels, layers, unfinished, options, progress):
            progress.clear()
            _store(vector, loaded, output, force, as_json)
            shutil.rmtree(unfinished / vector.name, ignore_errors=True)
            vectors.append(vector)
        progress("measuring the covariance of natural activations")
        _cache_covariance(vectors, loaded)
    if not as_json:
        from steer.composition.expression import format_doses

        again = model_flags(model, device, dtype, trust_remote_code, base)
        note(" ".join(["next: steer compose", shlex.quote(format_doses({vectors[0].name: 1.0})), "-n 4", *again]))


def _extracted(
    model: "ResidualModel", names: Sequence[str], texts: Sequence[str], labels: "Sequence[Collection[str]] | None",
    layers: "int | str | Sequence[int]", unfinished: Path, options: dict[str, Any], progress: Progress,
) -> Iterator["ConceptVector"]:  # fmt: skip
    """Yield each vector as soon as it is found; a contest keeps its finished parts in a folder until then."""
    from vectors.extraction.extract import extract

    def show(heading: str, texts: Sequence[str]) -> None:
        progress.clear()
        note(heading)
        for text in texts:
            line = " ".join(text.split())
            note(f"  {line[:_SHOWN]}{'…' * (len(line) > _SHOWN)}")

    if labels is None:
        yield extract(
            model, names[0], layer=layers, progress=progress, checkpoint=unfinished / names[0], show=show,  # type: ignore[arg-type]
            **options,
        )  # fmt: skip
        return
    if options["method"] not in CONTEST_METHODS:
        from vectors.extraction.extract_labelled import extract_each

        del options["budget"]
        yield from extract_each(model, texts, labels, layer=layers, progress=progress, **options).values()  # type: ignore[arg-type]
        return
    from vectors.data.labels import contrasts_of_labels

    for name, side in contrasts_of_labels(texts, labels):  # one after the other, so that an interrupt loses at most one
        yield extract(
            model, name, positive=side.positive, background=side.background, layer=layers, progress=progress,  # type: ignore[arg-type]
            checkpoint=unfinished / name, show=show, **options,
        )  # fmt: skip


def _store(vector: "ConceptVector", model: "ResidualModel", output: str | None, force: bool, as_json: bool) -> None:
    """Write a vector to the library, and to a file if asked for, and print it."""
    from vectors.common.paths import VECTOR_SUFFIX
    from vectors.concepts import library
    from vectors.concepts.vector_file import save

    written = None if output is None else save(vector, output, force=force)
    path = library.keep(vector, force=force)
    if model.library is not None and (model.library / f"{vector.name}{VECTOR_SUFFIX}").exists():
        note(
            f"note: expressions now use your {quote(vector.name)}, not the shipped one, until you delete {quote(path)}"
        )
    if as_json:
        extra = {"path": str(path)} | ({} if written is None else {"output": str(written)})
        emit_json(json.dumps(vector.to_dict() | extra))
        return
    if tried := vector.evidence.get("tried"):
        emit(f"{tried_table(tried)}\n")
    rows = vector.summary()
    if prompt := vector.evidence.get("prompt"):
        low_high = f"{figure(prompt['low'])} to {figure(prompt['high'])}"
        rows["its prompt"] = (
            f"success {figure(prompt['success'])} ({low_high}) at {figure(prompt['pressure'])} nats/token"
        )
    rows |= {"layer": f"{rows['layer']} of 0 to {model.n_layers - 1}", "file": str(path)}
    emit(f"{vector.name}\n{record(rows | ({} if written is None else {'written': str(written)}))}")
    if not vector.calibrated:
        note_natural_gap(vector, model)


def _cache_covariance(vectors: Sequence["ConceptVector"], model: "ResidualModel") -> None:
    """Measure the covariance that `compose` compares shifts with; a failure is no reason to fail here."""
    layers = sorted(
        {layer for vector in vectors if vector.calibrated and vector.positions != "bos" for layer in vector.layers}
    )
    if not layers:
        return
    from vectors.activations.natural_covariance import natural_covariance

    with suppress(SteerError):
        natural_covariance(model, layers)
