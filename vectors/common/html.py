"""Build HTML from plain values: all text is escaped, and invisible characters are made visible."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from vectors.common.validation import escape_invisible, is_invisible

_LINE_ENDS = re.compile(r"\r\n?")


def escape_html(text: object) -> str:
    r"""Return a text as HTML: line breaks and tabs stay, other control and invisible characters are written out.

    >>> escape_html("<b>\x07")
    '&lt;b&gt;<span class="control">\\x07</span>'
    """
    parts, in_span = [], False
    for character in _LINE_ENDS.sub("\n", str(text)):
        if (is_invisible(character) and character not in "\n\t") != in_span:
            parts.append("</span>" if in_span else '<span class="control">')
            in_span = not in_span
        parts.append(escape(escape_invisible(character) if in_span else character))
    return "".join(parts) + ("</span>" if in_span else "")


def attribute_value(text: object) -> str:
    r"""Return a text as a quoted and escaped attribute value.

    >>> attribute_value('say "a\x07"')
    '"say &quot;a\\x07&quot;"'
    """
    return f'"{escape(escape_invisible(str(text)))}"'


def format_number(number: float | None) -> str:
    """Return a number with three significant digits, or an empty string for None."""
    return "" if number is None else f"{number:.3g}".replace("-", "\N{MINUS SIGN}")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str) -> str:
    """Return a table; `heads` and cells are HTML already, and the first cell of a row is its header."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide"><table>\n<caption>{escape_html(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def definition_list(pairs: Iterable[tuple[str, object]]) -> str:
    """Return (name, value) pairs as a `<dl>`."""
    items = "".join(f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(value)}</dd></div>" for name, value in pairs)
    return f"<dl>{items}</dl>\n"
