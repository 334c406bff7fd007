# ruff: noqa: SIM905  a list of tags
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.data.documents.formats import parse
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


@pytest.mark.parametrize("head", [b"", b"<meta charset=zip>", b"<meta charset=nonsense>"])
def test_no_encoding_is_guessed(tmp_path, head):
    with pytest.raises(BadFile, match=r"not UTF-8|declares"):
        read(tmp_path, head + b"<p>Caf\xe9")


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
