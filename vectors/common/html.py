"""HTML from plain values: everything that is not ours is escaped, and nothing can be hidden in it."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from vectors.common.validation import escape_invisible, is_invisible

_LINE_ENDS = re.compile(r"\r\n?")


def escape_html(text: object) -> str:
    r"""Return a text as HTML; line breaks and tabs stay, other control and invisible characters are spelt out.

    >>> escape_html("<b>\x07")
    '&lt;b&gt;<span class="control">\\x07</span>'
    """
    parts, hidden = [], False
    for character in _LINE_ENDS.sub("\n", str(text)):
        if (is_invisible(character) and character not in "\n\t") != hidden:
            parts.append("</span>" if hidden else '<span class="control">')
            hidden = not hidden
        parts.append(escape(escape_invisible(character) if hidden else character))
    return "".join(parts) + ("</span>" if hidden else "")


def attribute_value(text: object) -> str:
    r"""Return a text as the quoted value of an attribute.

    >>> attribute_value('say "a\x07"')
    '"say &quot;a\\x07&quot;"'
    """
    return f'"{escape(escape_invisible(str(text)))}"'


def format_number(given: float | None) -> str:
    """Return a number to three digits, or nothing for none."""
    return "" if given is None else f"{given:.3g}".replace("-", "\N{MINUS SIGN}")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str) -> str:
    """Return a table of cells that are HTML already; the first of a row is its head."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide"><table>\n<caption>{escape_html(caption)}</caption>\n'
        f"<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def definition_list(pairs: Iterable[tuple[str, object]]) -> str:
    """Return named values as a list of terms."""
    inner = "".join(f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(each)}</dd></div>" for name, each in pairs)
    return f"<dl>{inner}</dl>\n"
