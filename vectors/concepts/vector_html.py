"""A concept as HTML, for notebooks."""

from collections.abc import Mapping
from typing import Any

from vectors.common.html import definition_list, escape_html, table


def vector_html(name: str, facts: Mapping[str, str], evidence: Mapping[str, Any]) -> str:
    """Return a concept as HTML, with how sure it is: whatever its file says is only text."""
    rows = [*facts.items(), *_words(evidence)]
    return f"<p><b>{escape_html(name)}</b></p>\n{definition_list(rows)}{_layers(evidence)}{_texts(evidence)}"


def _words(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = evidence.get("moved")
    if not isinstance(found, dict):
        return []
    sides = (("makes likelier", "top"), ("less likely", "bottom"))
    return [(said, ", ".join(map(str, found[key]))) for said, key in sides if isinstance(found.get(key), list)]


def _layers(evidence: Mapping[str, Any]) -> str:
    """Held-out AUC by layer, the shift's own or where a difference of means would read it."""
    for key, caption in (("read", "where a difference of means would read it"), ("layers", "by layer")):
        found = evidence.get(key)
        rows = [_row(each) for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        if rows:
            return table(["layer", "AUC on held-out texts (95 %)"], rows, caption=caption)
    return ""


def _row(found: dict[str, Any]) -> list[str]:
    low, high = found.get("low"), found.get("high")
    auc, *ends = (f"{each:.3f}" if isinstance(each, float | int) else "?" for each in (found.get("auc"), low, high))
    return [escape_html(found.get("layer")), f"{auc} ({ends[0]} to {ends[1]})" if low is not None else auc]


def _texts(evidence: Mapping[str, Any]) -> str:
    found = evidence.get("texts")
    if not isinstance(found, list) or not found:
        return ""
    return f"<p>most typical</p><ol>{''.join(f'<li>{escape_html(text)}</li>' for text in found)}</ol>\n"
