"""`steer discover` and `steer keep`: candidate concepts that nobody asked for, and one of them made a concept."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.options.concept_options import Layer, check_file, layer_of
from cli.options.model_options import Device, Dtype, Json, Model, Trust, open_model
from cli.terminal.output import carries, dim, emit, emit_json, note, width, wrap
from cli.terminal.progress import Progress
from vectors.common.errors import InputError, SteerError
from vectors.common.validation import MAX_SEED, check_integer, escape_invisible, quote

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector
    from vectors.discovery.candidates import Candidate, Discovery, Likeness
    from vectors.model.residual_model import ResidualModel

Texts = Annotated[str | None, typer.Option(metavar="FILE", help="Look in these: .txt, .jsonl, .csv; - reads stdin.")]
Samples = Annotated[
    int | None, typer.Option(metavar="N", help="Without --texts: texts that the model writes.  [default: 512]")
]
Count = Annotated[int, typer.Option("-k", metavar="K", help="Candidates.")]
Method = Annotated[Literal["ica", "pca", "dictionary"], typer.Option(metavar="HOW", help="ica, pca or dictionary.")]
NoKnown = Annotated[bool, typer.Option("--no-known", help="Do not tell which concepts of the library they are like.")]
Seed = Annotated[int, typer.Option(metavar="S", help="The texts, what is kept of them, and the search.")]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Also write a .safetensors file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file of that name.")]


def command(
    texts: Texts = None,
    samples: Samples = None,
    k: Count = 16,
    method: Method = "ica",
    layer: Layer = "auto",
    seed: Seed = 0,
    no_known: NoKnown = False,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    output: Output = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find candidate concepts without labels: directions that texts differ along.

    They are looked for in texts of yours or, without --texts, in what the model writes by itself. What is found is
    remembered: `steer keep 7 --as NAME` makes number 7 a concept.
    """
    check_integer(seed, "--seed", high=MAX_SEED)
    check_integer(k, "-k", low=1)
    block = layer_of(layer)
    if texts is not None and samples is not None:
        raise InputError("--samples is how many texts the model writes where there are no --texts: give one of the two")
    read = None
    if texts is not None:
        from vectors.data.text_files import read_texts

        read = read_texts(texts)
    if output is not None:
        check_file(output, force, what="discovery")
    with Progress() as progress:
        loaded = open_model(model, device, dtype, trust_remote_code, progress)
        from vectors.common.paths import writable_model_folder
        from vectors.discovery.discover import SAMPLES, discover
        from vectors.discovery.discovery_file import save_discovery, save_last_discovery

        writable_model_folder(loaded.name, loaded.hash)  # before the work instead of after it
        progress.clear()
        note(f"seed {seed}")
        found = discover(
            loaded,
            read,
            k=k,
            samples=SAMPLES if samples is None else samples,
            method=method,
            layer=block,
            seed=seed,
            progress=progress,
        )
        if not no_known and loaded.bos_id is not None:
            from vectors.discovery.match_concepts import match_concepts

            found = match_concepts(
                loaded,
                found,
                _known(loaded),
                progress=lambda done, of: progress("writing texts of known concepts", done, of),
            )
        if output is not None:
            save_discovery(found, output, force=force)
        place = save_last_discovery(found)
    if as_json:
        for each in found.candidates:
            emit_json(json.dumps(_facts(found, each)))
    else:
        emit("\n\n".join([_head(found, loaded.n_layers), *(_block(each) for each in found.candidates)]))
    note(f"remembered in {quote(place)}: `steer keep NUMBER --as NAME` makes one of them a concept")


def _known(model: "ResidualModel") -> "list[ConceptVector]":
    """The usable concepts of a model's library; of the others a note says why."""
    from vectors.concepts.library import load, names

    found = []
    for name in names(model):
        try:
            found.append(load(name, model))
        except SteerError as error:
            note(f"note: left out: {error}")
    return found


def _head(found: "Discovery", layers: int) -> str:
    whose = f"that {found.model} wrote" if found.own else "given"
    return wrap(
        f"{len(found.candidates)} candidates in {len(found.texts)} texts {whose} (layer {found.layer} of 0 to "
        f"{layers - 1}, {found.method}); for and against: the tokens that each speaks for, by the logit lens; + where "
        "most of it is read in texts, - least",
        width(),
    )


def _block(each: "Candidate") -> str:
    """One candidate: its figures, its tokens, where it is read in texts."""
    indent = " " * 5
    figures = f"{100 * each.share:.2g} % of variance, skewness {each.skewness:.1f}, kurtosis {each.kurtosis:.1f}"
    head = f"{each.number:>3}  {f'like {_liked(each.like)}, ' if each.like else ''}{figures}"
    lines = [wrap(head, width())]
    for what, tokens in (("for", each.top), ("against", each.bottom)):
        lines.append(_listed(f"{indent}{what:<8}", [token.strip() for token in tokens]))
    for sign, snippets in (("+", each.snippets), ("-", each.away[:1])):
        lines += [f"{indent}{sign} {_cut(snippet, width() - len(indent) - 2)}" for snippet in snippets]
    if each.unlike:
        lines.append(f"{indent}the other way like {_liked(each.unlike)}")
    return "\n".join([lines[0], *map(dim, lines[1:3]), *lines[3:]])


def _liked(one: "Likeness") -> str:
    cosine = "" if one.cosine is None else f", cosine {one.cosine:.2f}"
    return f"{escape_invisible(one.name)} (AUC {one.auc:.2f}{cosine})"


def _listed(head: str, words: list[str]) -> str:
    """Words after a head, broken into lines below each other."""
    body = wrap(", ".join(words), max(10, width() - len(head)))
    return head + body.replace("\n", "\n" + " " * len(head))


def _cut(text: str, room: int) -> str:
    from rich.cells import cell_len, set_cell_size

    text = escape_invisible(text) if carries(text) else escape_invisible(text).encode("ascii", "replace").decode()
    return text if cell_len(text) <= room else set_cell_size(text, room - 1) + ("…" if carries("…") else "~")


def _facts(found: "Discovery", each: "Candidate") -> dict[str, Any]:
    from vectors.discovery.discovery_file import candidate_to_dict

    about = {"model": found.model, "layer": found.layer, "method": found.method, "seed": found.seed}
    typical = [found.texts[place] for place in found.ranked(each.number)[: len(each.snippets)]]
    return candidate_to_dict(each) | about | {"texts": typical}
