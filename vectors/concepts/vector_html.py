"""A concept vector as HTML, for notebooks."""

from collections.abc import Mapping
from typing import Any

from vectors.common.html import definition_list, escape_html, table


def vector_html(name: str, facts: Mapping[str, str], evidence: Mapping[str, Any]) -> str:
    """Return a vector's summary and evidence as HTML; all texts are escaped, as they may come from any file."""
    rows = [*facts.items(), *_tokens(evidence)]
    return f"<p><b>{escape_html(name)}</b></p>\n{definition_list(rows)}{_layers(evidence)}{_texts(evidence)}"


def _tokens(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the tokens that the shift makes more likely, and those that it makes less likely, with labels."""
    tokens = evidence.get("moved")
    if not isinstance(tokens, dict):
        return []
    sides = (("makes more likely", "top"), ("less likely", "bottom"))
    return [(label, ", ".join(map(str, tokens[key]))) for label, key in sides if isinstance(tokens.get(key), list)]


def _layers(evidence: Mapping[str, Any]) -> str:
    """Return a table of held-out AUC by layer, of the difference of means or of the vector's own method."""
    for key, caption in (("read", "AUC of the difference of means, by layer"), ("layers", "by layer")):
        layers = evidence.get(key)
        rows = [_row(layer) for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
        if rows:
            return table(["layer", "AUC on held-out texts (95 %)"], rows, caption=caption)
    return ""


def _row(layer: dict[str, Any]) -> list[str]:
    low, high = layer.get("low"), layer.get("high")
    auc, *ends = (f"{value:.3f}" if isinstance(value, float | int) else "?" for value in (layer.get("auc"), low, high))
    return [escape_html(layer.get("layer")), f"{auc} ({ends[0]} to {ends[1]})" if low is not None else auc]


def _texts(evidence: Mapping[str, Any]) -> str:
    texts = evidence.get("texts")
    if not isinstance(texts, list) or not texts:
        return ""
    return f"<p>most typical</p><ol>{''.join(f'<li>{escape_html(text)}</li>' for text in texts)}</ol>\n"
