"""`steer discover`: find candidate concepts in texts without labels."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.options.concept_options import Layer, check_file, layer_of
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust, open_model
from cli.options.text_options import TextOptions, with_text_options
from cli.terminal.output import can_encode, dim, emit, emit_json, note, width, wrap
from cli.terminal.progress import Progress
from cli.terminal.time_estimate import announce, sampling_seconds
from vectors.common.errors import InputError, SteerError
from vectors.common.validation import MAX_SEED, check_integer, escape_invisible, quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector
    from vectors.discovery.candidates import Candidate, Discovery, Likeness
    from vectors.model.residual_model import ResidualModel

Texts = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Texts to search: a file or folder; - reads stdin.  [default: sampled]"),
]
Samples = Annotated[
    int | None, typer.Option(metavar="N", help="Without --texts: number of texts to sample.  [default: 512]")
]
Count = Annotated[int, typer.Option("-k", metavar="K", help="Number of candidates.")]
Method = Annotated[Literal["ica", "pca", "dictionary"], typer.Option(metavar="NAME", help="ica, pca or dictionary.")]
NoKnown = Annotated[
    bool, typer.Option("--no-known", help="Do not compare candidates with the concepts of the library.")
]
Seed = Annotated[
    int, typer.Option(metavar="S", help="Seed of the texts, of the choice of positions and of the search.")
]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Also write a .safetensors file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file of that name.")]


@with_text_options
def command(
    texts: Texts = None,
    reading: TextOptions = TextOptions(),  # noqa: B008 (frozen)
    samples: Samples = None,
    k: Count = 16,
    method: Method = "ica",
    layer: Layer = "auto",
    seed: Seed = 0,
    no_known: NoKnown = False,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    output: Output = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run this to find candidate concepts without labels: directions along which activations of texts vary.

    Give your own texts by --texts; by default the model samples some. The result is saved: `steer keep 7 --as NAME`
    stores candidate 7 as a concept.
    """
    check_integer(seed, "--seed", high=MAX_SEED)
    check_integer(k, "-k", low=1)
    block = layer_of(layer)
    if texts is not None and samples is not None:
        raise InputError("--samples is the number of texts to sample without --texts: give one of the two")
    loaded = None
    if reading.chat:
        with Progress() as progress:
            loaded = open_model(model, device, dtype, trust_remote_code, progress)
    own_texts = None if texts is None else reading.texts(texts, loaded)
    if output is not None:
        check_file(output, force, what="discovery")
    with Progress() as progress:
        loaded = loaded or open_model(model, device, dtype, trust_remote_code, progress, base)
        from vectors.common.paths import writable_model_folder
        from vectors.discovery.discover import SAMPLES, discover
        from vectors.discovery.discovery_file import save_discovery, save_last_discovery

        writable_model_folder(loaded.name, loaded.hash)  # refuse before the work and not after it
        progress.clear()
        note(f"seed {seed}")
        if own_texts is None:
            progress("estimating the time")
            count = SAMPLES if samples is None else samples
            announce(sampling_seconds(loaded, count, 96, costs=False), shorter="--samples takes fewer", at_most=True)
        discovery = discover(
            loaded,
            own_texts,
            k=k,
            samples=SAMPLES if samples is None else samples,
            method=method,
            layer=block,
            seed=seed,
            progress=progress,
        )
        if not no_known and loaded.bos_id is not None:
            from vectors.discovery.match_concepts import match_concepts

            discovery = match_concepts(
                loaded,
                discovery,
                _known(loaded),
                progress=lambda done, of: progress("sampling texts of known concepts", done, of),
            )
        if output is not None:
            save_discovery(discovery, output, force=force)
        path = save_last_discovery(discovery)
    if as_json:
        for candidate in discovery.candidates:
            emit_json(json.dumps(_facts(discovery, candidate)))
    else:
        emit(
            "\n\n".join([_head(discovery, loaded.n_layers), *(_block(candidate) for candidate in discovery.candidates)])
        )
    note(f"saved in {quote(path)}: `steer keep NUMBER --as NAME` stores a candidate as a concept")


def _known(model: "ResidualModel") -> "list[ConceptVector]":
    """Return the concepts of a model's library; print a note for each that cannot be read."""
    from vectors.concepts.library import load, names

    concepts = []
    for name in names(model):
        try:
            concepts.append(load(name, model))
        except SteerError as error:
            note(f"note: skipped: {error}")
    return concepts


def _head(discovery: "Discovery", layers: int) -> str:
    origin = f"sampled from {discovery.model}" if discovery.own else "given"
    return wrap(
        f"{len(discovery.candidates)} candidates in {len(discovery.texts)} texts {origin} (layer {discovery.layer} of "
        f"0 to {layers - 1}, {discovery.method}). for, against: tokens that it makes likelier or less likely "
        "(logit lens). +, -: where in the texts its projection is largest and smallest",
        width(),
    )


def _block(candidate: "Candidate") -> str:
    """Format one candidate: its statistics, tokens and snippets of texts."""
    indent = " " * 5
    share = f"{100 * candidate.share:.2g} % of variance"
    shape = f"skewness {candidate.skewness:.1f}, kurtosis {candidate.kurtosis:.1f}"
    like = f"like {_format_likeness(candidate.like)}, " if candidate.like else ""
    head = f"{candidate.number:>3}  {like}{share}, {shape}"
    lines = [wrap(head, width())]
    for what, tokens in (("for", candidate.top), ("against", candidate.bottom)):
        lines.append(_hanging(f"{indent}{what:<8}", [token.strip() for token in tokens]))
    for sign, snippets in (("+", candidate.snippets), ("-", candidate.away[:1])):
        lines += [f"{indent}{sign} {_cut(snippet, width() - len(indent) - 2)}" for snippet in snippets]
    if candidate.unlike:
        lines.append(f"{indent}the opposite is like {_format_likeness(candidate.unlike)}")
    return "\n".join([lines[0], *map(dim, lines[1:3]), *lines[3:]])


def _format_likeness(one: "Likeness") -> str:
    cosine = "" if one.cosine is None else f", cosine {one.cosine:.2f}"
    return f"{escape_invisible(one.name)} (AUC {one.auc:.2f}{cosine})"


def _hanging(head: str, words: list[str]) -> str:
    """Wrap words after a head, with later lines indented to its width."""
    body = wrap(", ".join(words), max(10, width() - len(head)))
    return head + body.replace("\n", "\n" + " " * len(head))


def _cut(text: str, room: int) -> str:
    from rich.cells import cell_len, set_cell_size

    text = escape_invisible(text) if can_encode(text) else escape_invisible(text).encode("ascii", "replace").decode()
    return text if cell_len(text) <= room else set_cell_size(text, room - 1) + ("…" if can_encode("…") else "~")


def _facts(discovery: "Discovery", candidate: "Candidate") -> dict[str, Any]:
    from vectors.discovery.discovery_file import candidate_to_dict

    about = {"model": discovery.model, "layer": discovery.layer, "method": discovery.method, "seed": discovery.seed}
    typical = [discovery.texts[index] for index in discovery.ranked(candidate.number)[: len(candidate.snippets)]]
    return candidate_to_dict(candidate) | about | {"texts": typical}
