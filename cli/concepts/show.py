"""`steer show`: print everything that is stored about a concept."""

import json
from typing import TYPE_CHECKING, Any

from cli.concepts.ls import OptionalName, find, read_library
from cli.options.model_options import Base, Device, Dtype, Json, Model, Trust
from cli.terminal.output import can_encode, emit, emit_json, figure, record, table, width, wrap
from cli.terminal.tried_table import tried_table
from vectors.common.errors import InputError
from vectors.common.validation import escape_invisible

if TYPE_CHECKING:
    from vectors.concepts.vector import ConceptVector

NEAREST = 3
_BAR = 24  # columns of a bar
_LOWEST = 0.5  # AUC at the left end of a bar


def show_command(
    name: OptionalName = None,
    model: Model = None,
    base: Base = None,
    device: Device = None,
    dtype: Dtype = None,
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Run this to print everything that is stored about a concept, or with --model and no concept, about a model.

    This includes its texts, its AUC on held-out texts at each layer, the agreement between halves of the texts, the
    nearest other concepts, and the pilot that measured its unit. Of a model: its family, shape and tokens, its memory,
    its library, and its fingerprint.
    """
    if name is None:
        if model is None:
            raise InputError("there is no name: give that of a concept, or --model for what is known of a model")
        from cli.concepts.show_model import show_model

        show_model(model, base, device, dtype, trust_remote_code, as_json)
        return
    if base is not None or device is not None or dtype is not None or trust_remote_code:
        raise InputError("a concept is shown without loading a model: leave --base, --device, --dtype and trust out")
    path, vector = find(name, model)
    near = nearest(vector)
    if as_json:
        cosines = [{"name": other, "cosine": cosine} for other, cosine in near]
        emit_json(json.dumps(vector.to_dict() | {"nearest": cosines, "path": str(path)}))
        return
    rows = vector.summary() | _about(vector)
    rows |= {
        "width": str(vector.d_model),
        "model hash": vector.model_hash,
        "contrast hash": vector.contrast_hash or "-",
    }
    emit(f"{escape_invisible(vector.name)}\n{record(rows | {'created': vector.created, 'file': str(path)})}")
    for block in (
        _tried(vector),
        _away(vector),
        _layers(vector),
        _diagnostics(vector, near),
        _texts(vector),
        _curve(vector),
    ):
        if block:
            emit(f"\n{block}")


def nearest(vector: "ConceptVector") -> list[tuple[str, float]]:
    """Return the library's concepts with the largest absolute cosine at a common layer and positions."""
    cosines: dict[str, float] = {}
    for entry in read_library():
        other = entry.vector
        if entry.shadowed or other.model_hash != vector.model_hash or other == vector or entry.name == vector.name:
            continue
        for site in {*vector.shifts} & {*other.shifts}:
            one, two = vector.shifts[site].double(), other.shifts[site].double()
            cosine = float(one @ two / one.norm() / two.norm())
            cosines[entry.name] = max(cosines.get(entry.name, 0.0), cosine, key=abs)
    return sorted(cosines.items(), key=lambda pair: -abs(pair[1]))[:NEAREST]


def _about(vector: "ConceptVector") -> dict[str, str]:
    """Return what a concept that ships says of itself: its group, and where its texts come from."""
    about = vector.evidence.get("about")
    return {key: str(about[key]) for key in ("group", "source") if key in about} if isinstance(about, dict) else {}


def _tried(vector: "ConceptVector") -> str:
    """Return the table of the contest that the vector won; empty without one, or if its record is damaged."""
    try:
        return tried_table(vector.evidence["tried"]) if vector.evidence.get("tried") else ""
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def _away(vector: "ConceptVector") -> str:
    """Return what dose -1 does, if shifts of its own were learned for it; empty without them or their record."""
    try:
        record = vector.evidence["away"]
        plain, least = record["plain"], record["chosen"]
        shares = [f"{figure(row['share'])} ({figure(row['low'])} to {figure(row['high'])})" for row in (plain, least)]
        return (
            f"dose -1: in {shares[1]} of {least['n']} texts instead of {shares[0]}, at {figure(least['pressure'])} nats"
        )
    except (KeyError, TypeError, ValueError):
        return ""


def _layers(vector: "ConceptVector") -> str:
    """Format a bar of the AUC for each layer tried and, for a learned shift, of a mean difference at each layer."""
    tried, read = (_rows(vector, key) for key in ("layers", "read"))
    blocks = []
    if tried:
        text = f"* its layer; bars go from {_LOWEST:g} to 1"
        if any(_number(row.get("success")) for row in tried):
            text += f"; success and {_pressure_key(tried)} pressure are of samples"
        blocks.append(f"by layer\n{_bars(vector, tried)}\n{wrap(text, width() - 2)}")
    if read:
        blocks.append(f"AUC of a difference of means\n{_bars(vector, read)}")
    return "\n\n".join(blocks)


def _rows(vector: "ConceptVector", key: str) -> list[dict[str, Any]]:
    rows = vector.evidence.get(key)
    if not isinstance(rows, list):
        return []
    return [row for row in rows if isinstance(row, dict) and _number(row.get("auc"))]


def _pressure_key(rows: list[dict[str, Any]]) -> str:
    """Return which pressure the samples of the layers have: older vectors record the 95th percentile."""
    return "mean" if any("pressure" in row for row in rows) else "p95"


def _bars(vector: "ConceptVector", rows: list[dict[str, Any]]) -> str:
    full, empty = ("█", "·") if can_encode("█·") else ("#", ".")
    sampled = any(_number(row.get("success")) for row in rows)
    cells = [["layer", "AUC on held-out texts", "", *(["success", _pressure_key(rows)] if sampled else [])]]
    for row in rows:
        filled = round(_BAR * min(max((row["auc"] - _LOWEST) / (1 - _LOWEST), 0.0), 1.0))
        bounds = f"{row['auc']:.3f}"
        if _number(row.get("low")) and _number(row.get("high")):
            bounds += f" ({row['low']:.3f} to {row['high']:.3f})"
        mark = "*" if row.get("layer") == vector.layer else " "
        more = [figure(row.get("success")), figure(row.get("pressure", row.get("p95")))] if sampled else []
        cells.append([f"{row.get('layer')}{mark}", bounds, full * filled + empty * (_BAR - filled), *more])
    return table(cells, right=(0, 3, 4), whole=True)


def _diagnostics(vector: "ConceptVector", near: list[tuple[str, float]]) -> str:
    rows = {}
    stability = vector.evidence.get("stability")
    if _number(stability):
        rows["halves agree"] = f"cosine {stability:.2f} between the directions of two halves of the texts"
    if near:
        rows["nearest"] = ", ".join(f"{name} {cosine:.2f}" for name, cosine in near) + " (cosine)"
    for key, heads in (("moved", ("makes more likely", "less likely")), ("tokens", ("lens for", "lens against"))):
        tokens = vector.evidence.get(key)
        for side, head in zip(("top", "bottom"), heads, strict=True):
            if isinstance(tokens, dict) and isinstance(tokens.get(side), list):
                rows[head] = " ".join(json.dumps(str(token), ensure_ascii=False)[1:-1] for token in tokens[side])
    return f"diagnostics\n{record(rows)}" if rows else ""


def _texts(vector: "ConceptVector") -> str:
    texts = vector.evidence.get("texts")
    if not isinstance(texts, list) or not texts:
        return ""
    blocks = [wrap(str(text), width() - 5).replace("\n", "\n     ") for text in texts]
    return "most typical\n" + "\n".join(f"  {number}. {block}" for number, block in enumerate(blocks, 1))


def _curve(vector: "ConceptVector") -> str:
    if not vector.unit_curve:
        return ""
    keys = list(dict.fromkeys(key for row in vector.unit_curve for key in row)) or ["shift"]
    curve = [[figure(row.get(key)) for key in keys] for row in vector.unit_curve]
    head = "unit curve" if vector.tried_alone else "unit curve, combined with other concepts"
    text = f"{head}\n{table([keys, *curve], right=range(len(keys)))}"
    if vector.unit_judge is not None:
        right, wrong = (accepted / of for accepted, of in vector.unit_judge)
        text += (
            f"\n\n  its judge accepts {right:.2f} of held-out texts with the concept, and {wrong:.2f} of those without"
        )
    return text


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
