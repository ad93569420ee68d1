from helpers.pagereader import read
from hypothesis import given
from hypothesis import strategies as st

from vectors.common.html import attribute_value, escape_html, format_number, table
from vectors.common.validation import escape_invisible, is_invisible


@given(st.text() | st.sampled_from(["</script><!--", "<img src=x onerror=alert(1)>", "a\r\nb\rc", "\u202eabc", "]]>"]))
def test_whatever_a_text_holds_it_is_text(text: str):
    found = read(escape_html(text))
    assert all(tag == ("span", {"class": "control"}) for tag in found.tags)
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    assert found.text == "".join(each if each in "\n\t" else escape_invisible(each) for each in plain)
    assert not any(is_invisible(each) for each in escape_html(text) if each not in "\n\t")


@given(st.text())
def test_whatever_a_value_holds_it_is_one_value(text: str):
    (tag,) = read(f"<p title={attribute_value(text)}></p>").tags
    assert tag == ("p", {"title": escape_invisible(text)})


def test_a_family_stays_together_and_a_number_has_a_minus():
    assert escape_html("👩\u200d👧") == "👩\u200d👧"
    assert [format_number(each) for each in (-0.5, 1234.5, None)] == ["−0.5", "1.23e+03", ""]


def test_a_table_has_heads_for_its_columns_and_rows():
    found = read(table(["figure", "value"], [["success", "0.5"]], caption="<all>"))
    assert [attributes for tag, attributes in found.tags if tag == "th"] == [
        {"scope": "col"}, {"scope": "col"}, {"scope": "row"}
    ]  # fmt: skip
    assert "<all>" in found.text
