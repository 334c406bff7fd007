# ruff: noqa: SIM905  a list of tags
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.data.documents.formats import parse
from graftwerk.data.tables import Reading
from graftwerk.errors import BadFile


def read(tmp_path, content):
    path = tmp_path / "a.html"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    document = parse(str(path))
    return [(b.heading, document.text[b.start : b.end]) for b in document.blocks]


def test_headings_paragraphs_lists_and_tables(tmp_path):
    page = """<!doctype html><head><title>Page</title><style>p {x}</style></head><body>
      <script>var no</script> bare <b>text</b>
      <h1>One <i>two</i></h1><p>First
      line<br>second</p><p>Other
      <h2>Three</h2><ul><li>a</li><li><p>b</p><p>c</p></li></ul>
      <table><tr><th>x</th><th>y</th></tr><tr><td>1</td><td>2</td></tr></table>
      <pre>def f():
  pass</pre><template>no</template><!-- no --></body>"""
    assert read(tmp_path, page) == [
        ("Page", "bare text"),
        ("Page > One two", "First line\nsecond"),
        ("Page > One two", "Other"),
        ("Page > One two > Three", "- a"),
        ("Page > One two > Three", "- b"),
        ("Page > One two > Three", "c"),
        ("Page > One two > Three", "x | y\n1 | 2"),
        ("Page > One two > Three", "def f():\n  pass"),
    ]


def dropped(tmp_path):
    return parse(str(tmp_path / "a.html")).notes


@pytest.mark.parametrize(
    ("page", "shown", "count"),
    [
        ('<p style="display:none">no<p>yes', ["yes"], 1),
        ('<p style="color:red; DISPLAY : None">no<p>yes', ["yes"], 1),
        ("<p style='visibility:hidden'>no<p>yes", ["yes"], 1),
        ("<div hidden><p>no<p>no</div>yes", ["yes"], 1),
        ("<div hidden=until-found>yes</div>", ["yes"], 0),
        ("<div hidden></div>yes", ["yes"], 0),
        (
            "<style>.x, #y {color:red; display: none}</style><p class=x>no<p id=y>no<p>yes",
            ["yes"],
            2,
        ),
        (
            "<style>/* p{display:none} */ p.x{display:none} p.x.on{display:block}</style><p class='x on'>yes<p class=x>no",
            ["yes"],
            1,
        ),
        ("<style>.x{display:none}</style><p class=x style='display:block'>yes", ["yes"], 0),
        ("<style>.x{display:none} .x{display:block}</style><p class=x>yes", ["yes"], 0),
        ("<style>@media print{p{display:none}}</style><p>yes", ["yes"], 0),
        ("<style>p::before{display:none} p:hover{display:none}</style><p>yes", ["yes"], 0),
        ("<style>p:hover{display:none} p:focus{display:none}</style><p>yes", ["yes"], 0),
        (
            "<style>p{display:none} :checked+p{display:block}</style><input type=checkbox checked>"
            "<p>yes<p>no",
            ["yes"],
            1,
        ),
        ("<style>p{display:none</style><p>yes", ["yes"], 0),
        ("<style>[[[{display:none} %%{display:none}</style><p>yes", ["yes"], 0),
        ("<p>yes<noscript>Turn scripts on</noscript>", ["yes"], 1),
        ("<p>yes<select><option>no</select><datalist><option>no</datalist>", ["yes"], 2),
        ("<details><summary>More</summary>yes</details>", ["More", "yes"], 0),
    ],
)
def test_what_a_browser_does_not_show(tmp_path, page, shown, count):
    assert [text for _, text in read(tmp_path, page)] == shown
    assert dropped(tmp_path) == ((f"hidden elements left out: {count}",) if count else ())


def test_style_sheets_take_time_in_proportion(tmp_path):
    sheets = ["/*" * 200_000, "{" * 200_000, "a" * 500_000, ".x{display:none}" * 50_000]
    for sheet in sheets:
        assert read(tmp_path, f"<style>{sheet}</style><p>yes") == [("", "yes")]


def test_boxes_are_apart_from_the_words_beside(tmp_path):
    page = "<textarea>typed words</textarea><a href=x>link</a><button>Go</button>on"
    assert read(tmp_path, page) == [("", "typed words link Go on")]


def test_the_encoding_of_an_xml_declaration(tmp_path):
    page = '<?xml version="1.0" encoding="iso-8859-1"?><p>Caf\xe9'.encode("latin-1")
    assert read(tmp_path, page) == [("", "Caf\xe9")]


def test_a_title_that_the_heading_repeats_counts_once(tmp_path):
    assert read(tmp_path, "<title>A</title><h1>A</h1><p>b") == [("A", "b")]


def test_blocks_inside_a_heading_or_cell(tmp_path):
    page = "<h1><div>A</div><div>B</div></h1><table><tr><td><p>c</p></td><td>d</td></tr></table>"
    assert read(tmp_path, page) == [("A B", "c"), ("A B", "d")]


def test_entities_and_spaces(tmp_path):
    assert read(tmp_path, "<p>a &lt;b&gt; &amp;\n\n c&nbsp;d") == [("", "a <b> & c\xa0d")]


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1252", "'latin1'"])
def test_a_declared_encoding_is_used(tmp_path, label):
    page = f"<meta charset={label}><p>Caf\xe9".encode("latin-1")
    assert read(tmp_path, page) == [("", "Caf\xe9")]


@pytest.mark.parametrize(
    "head", [b"", b"<meta charset=zip>", b"<meta charset=nonsense>", b"<meta charset=utf-8>"]
)
def test_an_undeclared_encoding_is_guessed_and_reported(tmp_path, head):
    path = tmp_path / "a.html"
    path.write_bytes(head + b"<p>Caf\xe9 Z\xfcrich")
    document = parse(str(path))
    assert document.text == "Caf\xe9 Z\xfcrich"
    assert "is read as Windows-1252" in document.notes[0]
    path.write_bytes(head + "<p>Мост через реку".encode("cp1251"))
    with pytest.raises(BadFile, match=r"not UTF-8.*cp1251"):
        parse(str(path))
    assert parse(str(path), Reading(encoding="cp1251")).text == "Мост через реку"


def test_a_page_with_nothing(tmp_path):
    assert read(tmp_path, "") == []
    assert read(tmp_path, "<script>x</script>") == []


def test_no_nul_and_no_lone_surrogate(tmp_path):
    (block,) = read(tmp_path, "<p>a&#0;b&#xd800;c")
    block[1].encode()
    assert "\x00" not in block[1]


TAGS = st.sampled_from(
    "<p> </p> <h1> </h1> <h2> <li> <ul> </ul> <table> <tr> <td> </table> <pre> </pre> <b> <br> <script> </script> <title> </title> <!-- --> <body> a é &amp; &# <".split()
)


@given(st.lists(TAGS, max_size=40).map(" ".join))
@settings(max_examples=200, deadline=None)
def test_any_soup_gives_trimmed_blocks_in_order(tmp_path_factory, soup):
    path = tmp_path_factory.getbasetemp() / "soup.html"
    path.write_text(soup)
    document = parse(str(path))
    position = 0
    for block in document.blocks:
        piece = document.text[block.start : block.end]
        assert position <= block.start < block.end
        assert piece == piece.strip() != ""
        position = block.end
