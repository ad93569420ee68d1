"""A concept in words: what to know of it first, and as a notebook shows it."""

from typing import TYPE_CHECKING, Any

from vectors.choices import ranks_by_gain
from vectors.markup import safe, table, terms

if TYPE_CHECKING:
    from vectors.concept import ConceptVector


def describe(vector: "ConceptVector") -> dict[str, str]:
    """Return what a person wants to know of a vector first, by name."""
    found_here = bool(vector.contrast_hash or vector.n_positive)  # a file of another library knows of no texts
    gap = "length found" if ranks_by_gain(vector.method) else "natural gap" if found_here else "length"
    unit = f"{vector.unit:.3g} (dose 1)" if vector.unit is not None else f"not measured: dose 1 is the {gap}"
    return {
        "model": vector.model,
        "layer": ", ".join(map(str, vector.layers)) + (f" (calibrated at {vector.layer})" if vector.further else ""),
        "AUC": "not measured" if vector.auc is None else f"{vector.auc:.3f} on held-out texts",
        gap: f"{vector.gap:.3g}",
        "unit": unit,
        "method": vector.method,
        "added at": f"{vector.positions} positions",
        "texts": f"{vector.n_positive} positive, {vector.n_background} background" if found_here else "none known",
    }


def portrait(vector: "ConceptVector") -> str:
    """Return a concept as HTML, with how sure it is: whatever its file says is only text."""
    facts = [*describe(vector).items(), *_words(vector)]
    return f"<p><b>{safe(vector.name)}</b></p>\n{terms(facts)}{_layers(vector)}{_texts(vector)}"


def _words(vector: "ConceptVector") -> list[tuple[str, str]]:
    found = vector.evidence.get("moved")
    if not isinstance(found, dict):
        return []
    sides = (("makes likelier", "top"), ("less likely", "bottom"))
    return [(said, ", ".join(map(str, found[key]))) for said, key in sides if isinstance(found.get(key), list)]


def _layers(vector: "ConceptVector") -> str:
    """Held-out AUC by layer, the shift's own or where a difference of means would read it."""
    for key, caption in (("read", "where a difference of means would read it"), ("layers", "by layer")):
        found = vector.evidence.get(key)
        rows = [_row(each) for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        if rows:
            return table(["layer", "AUC on held-out texts (95 %)"], rows, caption=caption)
    return ""


def _row(found: dict[str, Any]) -> list[str]:
    low, high = found.get("low"), found.get("high")
    auc, *ends = (f"{each:.3f}" if isinstance(each, float | int) else "?" for each in (found.get("auc"), low, high))
    return [safe(found.get("layer")), f"{auc} ({ends[0]} to {ends[1]})" if low is not None else auc]


def _texts(vector: "ConceptVector") -> str:
    found = vector.evidence.get("texts")
    if not isinstance(found, list) or not found:
        return ""
    return f"<p>most typical</p><ol>{''.join(f'<li>{safe(text)}</li>' for text in found)}</ol>\n"
