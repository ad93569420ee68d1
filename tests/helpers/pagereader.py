"""An HTML reader that collects the tags and the text of a page, and texts that could break a page."""

from html.parser import HTMLParser

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "\x1b[31mred\x1b[0m \x07bell \x00 \u202eturned\u2066 \ufeff",
    "</article></main></style></script><!-- &amp; ]]> \"'`",
    "lines\r\nof\rall\u2028kinds\x85\ttab",
    "",
)
"""Texts with markup, scripts and control characters, which a page must escape."""


class Reader(HTMLParser):
    """Collects tags and text, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    """Return the tags and the text of a page."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader
