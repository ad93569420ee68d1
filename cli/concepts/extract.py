"""`steer extract`: texts in, a concept out, kept in the user's library."""

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options.concept_options import Layer, check_file, check_free, layers_of
from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model
from cli.options.text_sources import contrast_from, labels_from
from cli.terminal.output import emit, emit_json, note, record
from cli.terminal.progress import Progress
from vectors.common.errors import InputError, SteerError
from vectors.common.option_names import METHODS, POOLS
from vectors.common.validation import MAX_SEED, check_integer, check_name, quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector
    from vectors.model.residual_model import ResidualModel

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="What expressions will call the concept.")]
Positive = Annotated[
    str | None, typer.Option(metavar="FILE", help="Texts that have it: .txt, .jsonl, .csv; - reads stdin.")
]
Background = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Texts of the same world that need not have it.  [default: the model writes some]"
    ),
]
From = Annotated[
    str | None, typer.Option("--from", metavar="FILE", help="One .jsonl or .csv with both; with --where or --each.")
]
Where = Annotated[str | None, typer.Option(metavar="KEY=VALUE", help="Rows of --from that have it; the rest have not.")]
Each = Annotated[str | None, typer.Option(metavar="KEY", help="Extract every value of this key, each by its own name.")]
Pairs = Annotated[
    str | None, typer.Option(metavar="FILE", help='Two versions a row: {"positive": "...", "background": "..."}.')
]
Weight = Annotated[str | None, typer.Option(metavar="KEY", help="Field of --from that says how much a text counts.")]
Method = Annotated[str, typer.Option(metavar="HOW", help=f"{', '.join(METHODS)}.")]
Positions = Annotated[
    str | None,
    typer.Option(metavar="WHICH", help="Where it is added: bos, all, generated, not-bos.  [default: by method]"),
]
Pooling = Annotated[str, typer.Option("--pool", metavar="HOW", help=f"What of a text is read: {', '.join(POOLS)}.")]
Words = Annotated[
    str | None, typer.Option(metavar="A,B", help="For --method token: the words it leads to.  [default: its name]")
]
NoCalibrate = Annotated[bool, typer.Option("--no-calibrate", help="Skip the pilot: dose 1 is then the natural gap.")]
Stability = Annotated[
    bool | None,
    typer.Option(
        "--stability/--no-stability",
        help="Find it anew in either half of the texts.  [default: where that is quick]",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(metavar="S", help="Which texts are held out, and the pilot's samples.")]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Also write a .safetensors file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a concept or file of that name.")]


def command(
    name: Name = None,
    positive: Positive = None,
    background: Background = None,
    source: From = None,
    where: Where = None,
    each: Each = None,
    pairs: Pairs = None,
    weight: Weight = None,
    method: Method = "learned",
    layer: Layer = "auto",
    positions: Positions = None,
    pool: Pooling = "mean",
    words: Words = None,
    no_calibrate: NoCalibrate = False,
    stability: Stability = None,
    seed: Seed = 0,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    output: Output = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find a concept in texts and keep it in your library.

    Give texts that have it and texts that need not: as --positive and --background, or as one file --from with the
    rows that have it named by --where. A .txt file holds one text a line, a .jsonl file {"text": "..."} a line.
    """
    check_integer(seed, "--seed", high=MAX_SEED)
    blocks = layers_of(layer)
    for option, value, known in (("--method", method, METHODS), ("--pool", pool, POOLS)):
        if value not in known:
            raise InputError(f"{option} is {quote(value)}: choose from {', '.join(known)}")
    if positions is not None:
        from vectors.model.positions import check_positions

        check_positions(positions)
    common = {"method": method, "positions": positions, "pool": pool, "calibrate": not no_calibrate, "seed": seed}
    if each is not None:
        if name is not None or output is not None:
            what = "NAME" if name is not None else "--output"
            raise InputError(f"--each makes a concept of every value, named after it: leave {what} out")
        others = {"--positive": positive, "--background": background, "--where": where, "--pairs": pairs,
                  "--weight": weight, "--words": words}  # fmt: skip
        texts, labels = labels_from(source, each, others)
        names = sorted({check_name(value) for having in labels for value in having})
        layers: int | str | Sequence[int] = blocks
    else:
        if name is None:
            raise InputError("the concept has no name: give one, such as `steer extract storm --positive storms.txt`")
        names = [check_name(name)]
        given = contrast_from(positive, background, source, where, pairs, weight, needed=method != "token")
        if words is not None and method != "token":
            raise InputError("--words is what --method token leads to: leave it out")
        called = None if words is None else [word.strip() for word in words.split(",") if word.strip()]
        layers = blocks
        common |= given | {"words": called, "stability": stability}
    if output is not None:
        check_file(output, force)
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        for block in [layers] if isinstance(layers, int) else [] if isinstance(layers, str) else layers:
            loaded.check_layer(block)
        from vectors.common.paths import writable_model_folder

        if not force:
            for one in names:
                check_free(one, loaded)
        writable_model_folder(loaded.name, loaded.hash)  # before the work instead of after it
        progress.clear()
        note(f"seed {seed}")
        if each is not None:
            from vectors.extraction.extract_labelled import extract_each

            made = list(
                extract_each(loaded, texts, labels, layer=layers, progress=progress, **common).values()  # type: ignore[arg-type]
            )
        else:
            from vectors.extraction.extract import extract

            made = [extract(loaded, names[0], layer=layers, progress=progress, **common)]  # type: ignore[arg-type]
        for vector in made:
            progress.clear()
            _keep(vector, loaded, output, force, as_json)
    _read_natural(made, loaded)
    if not as_json:
        from steer.composition.expression import format_doses

        opened = {"--model": model, "--device": device, "--dtype": dtype}
        again = [f"{option} {shlex.quote(value)}" for option, value in opened.items() if value is not None]
        again += ["--trust-remote-code"] if trust_remote_code else []
        note(" ".join(["next: steer compose", shlex.quote(format_doses({made[0].name: 1.0})), "-n 4", *again]))


def _keep(vector: "ConceptVector", model: "ResidualModel", output: str | None, force: bool, as_json: bool) -> None:
    """Write a vector and say so."""
    from vectors.common.paths import VECTOR_SUFFIX
    from vectors.concepts import library
    from vectors.concepts.vector_file import save

    written = None if output is None else save(vector, output, force=force)
    kept = library.keep(vector, force=force)
    if model.library is not None and (model.library / f"{vector.name}{VECTOR_SUFFIX}").exists():
        note(f"note: {quote(vector.name)} is also shipped with the model: from now on expressions mean yours")
    if as_json:
        extra = {"path": str(kept)} | ({} if written is None else {"output": str(written)})
        emit_json(json.dumps(vector.to_dict() | extra))
        return
    rows = vector.summary()
    rows |= {"layer": f"{rows['layer']} of 0 to {model.n_layers - 1}", "kept": str(kept)}
    emit(f"{vector.name}\n{record(rows | ({} if written is None else {'written': str(written)}))}")


def _read_natural(made: Sequence["ConceptVector"], model: "ResidualModel") -> None:
    """Keep what `compose` compares shifts with: not what was asked for, and no reason to fail."""
    layers = sorted({at for vector in made if vector.calibrated and vector.positions != "bos" for at in vector.layers})
    if not layers:
        return
    from vectors.activations.natural_covariance import natural_covariance

    with Progress() as progress, suppress(SteerError):
        progress("reading what is natural for this model")
        natural_covariance(model, layers)
