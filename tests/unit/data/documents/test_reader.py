# ruff: noqa: PTH118, PTH123  (names of any bytes)
"""The parent of the sandbox: every way in which a worker can fail becomes a `BadFile`."""

import hashlib
import io
import os
import random
import signal
import socket
import sys
import zipfile
from pathlib import Path

import pytest
from tests.hostile.make import docx_parts, paragraph, pdf_of, zip_of

from graftwerk import limits
from graftwerk.data import raw
from graftwerk.data.documents import formats, sandbox
from graftwerk.data.documents.document import Document
from graftwerk.data.documents.sandbox import Reader
from graftwerk.errors import BadFile, GraftError, LimitExceeded

GOOD = zip_of(docx_parts(paragraph("Leave", "H1") + paragraph("25 days.") + "<w:tbl/>"))


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.docx"
    path.write_bytes(GOOD)
    return str(path)


def run_instead(monkeypatch, program):
    """Let `program` take the place of the worker."""
    monkeypatch.setattr(sandbox, "COMMAND", (sys.executable, "-I", "-S", "-c", program))


def test_reads_through_the_worker(good):
    with Reader() as reader:
        document = reader.read(good)
    assert isinstance(document, Document)
    assert [(b.heading, document.text[b.start : b.end]) for b in document.blocks] == [
        ("Leave", "25 days.")
    ]


def test_plain_text_starts_no_worker(tmp_path, monkeypatch):
    run_instead(monkeypatch, "raise SystemExit(1)")
    (tmp_path / "a.md").write_text("text")
    with Reader() as reader:
        assert reader.read(str(tmp_path / "a.md")).text == "text"


def test_images_have_no_text(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(path := tmp_path / "a.png")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with Reader() as reader:
        assert reader.read(str(path)) == Document(str(path), "image", "", (), digest)


def contents(tmp_path):
    """One good file of each family of formats."""
    from PIL import Image

    Image.new("RGB", (4, 4)).save(image := io.BytesIO(), "PNG")
    return {
        "a.md": b"# One\n\ntext",
        "a.html": b"<p>text",
        "a.csv": b"name\nAnn\n",
        "a.jsonl": b'{"name": "Ann"}\n',
        "a.pdf": pdf_of(["A page."]),
        "a.docx": GOOD,
        "a.png": image.getvalue(),
    }


def test_the_hash_is_that_of_the_parsed_bytes(tmp_path, monkeypatch):
    """Each parser is given bytes, never the file, which may be another one a moment later."""
    reads = []

    def once(path, limit, read=raw.read_bytes):
        reads.append(path)
        content = read(path, limit)
        with open(path, "wb") as file:
            file.write(b"something else")
        return content

    monkeypatch.setattr(raw, "read_bytes", once)
    for name, content in contents(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        document = formats.parse(str(tmp_path / name))
        assert document.content_hash == hashlib.sha256(content).hexdigest(), name
        assert "something else" not in document.text
    assert len(reads) == 7


def test_the_worker_tells_the_hash(tmp_path):
    with Reader() as reader:
        for name, content in contents(tmp_path).items():
            (tmp_path / name).write_bytes(content)
            digest = reader.read(str(tmp_path / name)).content_hash
            assert digest == hashlib.sha256(content).hexdigest(), name


def test_an_image_that_changes_after_the_worker_has_seen_it(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4), "red").save(path := tmp_path / "a.png")

    class Late(Reader):
        def read(self, path):
            document = super().read(path)
            Image.new("RGB", (4, 4), "blue").save(path)
            return document

    with Late() as reader, pytest.raises(BadFile, match=r"'a\.png' was changed while it was read"):
        reader.read_with_image(str(path))
    with Reader() as reader:
        document, image = reader.read_with_image(str(path))
    assert image.getpixel((0, 0)) == (0, 0, 255)
    assert document.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    """A sparse file of a tebibyte: neither its hash nor its content can be had in a test's time."""
    with open(tmp_path / "big.txt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LimitExceeded, match=r"'big\.txt' has 1,099,511,627,776 bytes; at most"):
        formats.size_and_hash(str(tmp_path / "big.txt"))
    (tmp_path / "a.txt").write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert formats.size_and_hash(str(tmp_path / "a.txt")) == (3, digest)
    monkeypatch.setattr(limits, "TEXT_FILE", 3)
    assert formats.size_and_hash(str(tmp_path / "a.txt")) == (3, digest)
    monkeypatch.setattr(limits, "TEXT_FILE", 2)
    with pytest.raises(LimitExceeded):
        formats.size_and_hash(str(tmp_path / "a.txt"))


@pytest.mark.parametrize("read", [raw.read_bytes, raw.size_and_hash])
def test_a_file_without_a_size_of_its_own(read):
    """Files of /proc have size 0 and hold something, and may go on for ever."""
    assert Path("/proc/self/status").stat().st_size == 0
    assert read("/proc/self/status", 1 << 20)[0]
    with pytest.raises(LimitExceeded, match="more than 10 bytes"):
        read("/proc/self/status", 10)
    with pytest.raises(BadFile, match="'mem' cannot be read: Input/output error"):
        read("/proc/self/mem", 10)


@pytest.mark.parametrize("name", ["fifo", "socket", "device"])
def test_what_is_no_file_is_never_opened(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    if name == "fifo":
        os.mkfifo(name)
    elif name == "device":
        Path(name).symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        if name == "socket":
            listener.bind(name)
        monkeypatch.setattr(raw.os, "open", lambda *_: pytest.fail("it was opened"))
        with pytest.raises(BadFile, match="not a regular file"):
            raw.open_regular(name, 10)


@pytest.mark.parametrize("name", ["a.xyz", "a", "docx", ".docx"])
def test_unknown_endings(tmp_path, name):
    (tmp_path / name).write_bytes(GOOD)
    with Reader() as reader, pytest.raises(BadFile, match="no known ending") as caught:
        reader.read(str(tmp_path / name))
    assert ".docx" in caught.value.hint


@pytest.mark.parametrize("name", ["missing.docx", "missing.md", "a\x00.docx", "x" * 300 + ".pdf"])
def test_files_that_cannot_be_opened(tmp_path, name):
    with Reader() as reader, pytest.raises(BadFile, match="cannot be opened"):
        reader.read(os.path.join(tmp_path, name))


def test_a_folder_with_an_ending(tmp_path):
    (tmp_path / "a.docx").mkdir()
    with Reader() as reader, pytest.raises(BadFile, match="is a folder"):
        reader.read(str(tmp_path / "a.docx"))


FRAME = "import sys; out = sys.stdout.buffer; sys.stdin.readline(); say = lambda b: (out.write(len(b).to_bytes(8, 'big') + b), out.flush());"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit(3)", r"ended early|no usable"),
        (FRAME + "raise SystemExit(3)", r"ended early \(exit status 3\)"),
        (FRAME + "import os; os.kill(os.getpid(), 11)", r"crashed \(SIGSEGV\)"),
        (FRAME + "import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "out of time"),
        (FRAME + "out.write(b'garbage' * 9)", "no usable answer"),
        (FRAME + "out.write(b'abc')", "ended early"),
        (FRAME + "say(b'no json')", "no usable answer"),
        (FRAME + "say(b'[1]')", "no usable answer"),
        (FRAME + "say(b'[' * 100000)", "no usable answer"),
        (FRAME + "say(b'\\xff')", "no usable answer"),
        (FRAME + "say(b'{}')", "no usable answer"),
        (FRAME + """say(b'{"stopped": "memory"}')""", "out of memory"),
        (FRAME + """say(b'{"error": "SystemExit", "message": "", "hint": ""}')""", "no usable"),
        (FRAME + """say(b'{"error": []}')""", "no usable"),
        (FRAME + """say(b'{"kind": "code", "text": "", "blocks": []}')""", "no usable"),
        (FRAME + """say(b'{"kind": "text", "text": 1, "blocks": []}')""", "no usable"),
        (FRAME + """say(b'{"kind": "text", "text": "ab", "blocks": 5}')""", "no usable"),
        (FRAME + """say(b'{"kind": "text", "text": "ab", "blocks": []}')""", "no usable"),
        (
            FRAME + """say(b'{"kind": "text", "text": "ab", "blocks": [], "sha256": 1}')""",
            "no usable",
        ),
        (
            FRAME + """say(b'{"kind": "text", "text": "ab", "blocks": [], "sha256": "00"}')""",
            "no usable",
        ),
        (
            FRAME + """say(b'{"kind": "text", "text": "ab", "blocks": [[0, 3, "", 1, 1, 0]]}')""",
            "no usable",
        ),
        (
            FRAME + """say(b'{"kind": "text", "text": "ab", "blocks": [[1, 1, "", 1, 1, 0]]}')""",
            "no usable",
        ),
        (
            FRAME + """say(b'{"kind": "text", "text": "ab", "blocks": [["a", 2, "", 1, 1, 0]]}')""",
            "no usable",
        ),
        (
            FRAME + """say(b'{"kind": "text", "text": "ab", "blocks": [[0, 1, "", "x", 1, 0]]}')""",
            "no usable",
        ),
    ],
)
def test_a_worker_that_fails(good, monkeypatch, program, words):
    with Reader() as reader:
        with monkeypatch.context() as patch:
            run_instead(patch, program)
            with pytest.raises(BadFile, match=words) as caught:
                reader.read(good)
        assert "good.docx" in caught.value.message
        assert reader.read(good).text  # a new worker takes over


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",
        FRAME + "import time; out.write(bytes(4)); out.flush(); time.sleep(60)",
        FRAME + "out.write((1 << 23).to_bytes(8, 'big'))\nwhile True: out.write(b' '); out.flush()",
    ],
)
def test_a_worker_that_hangs(good, monkeypatch, program):
    with Reader() as reader:
        with monkeypatch.context() as patch:
            patch.setattr(limits, "PARSER_SECONDS", 0.3)
            run_instead(patch, program)
            with pytest.raises(BadFile, match=r"out of time \(0.3 seconds\)"):
                reader.read(good)
        assert reader.read(good).text


def test_running_out_of_memory_is_told(good, tmp_path, monkeypatch):
    start = sandbox._START.replace("main()", "limits.PARSER_MEMORY = 128 << 20; main()")
    start = start.replace("from graftwerk", "from graftwerk import limits; from graftwerk", 1)
    monkeypatch.setattr(sandbox, "COMMAND", (sys.executable, "-I", "-c", start, sandbox._ROOT))
    (tmp_path / "many.csv").write_text("name\n" + "a b c\n" * 400_000)
    with Reader() as reader:
        with pytest.raises(BadFile, match="its parser ran out of memory"):
            reader.read(str(tmp_path / "many.csv"))
        assert reader.read(good).text


def test_recycled_after_some_files(good, monkeypatch):
    monkeypatch.setattr(sandbox, "RECYCLE_FILES", 3)
    workers = []
    with Reader() as reader:
        for _ in range(7):
            reader.read(good)
            workers.append(reader._worker.pid)
    assert [workers.count(pid) for pid in dict.fromkeys(workers)] == [3, 3, 1]


def test_a_bad_file_does_not_cost_a_worker(good, tmp_path):
    (tmp_path / "bad.docx").write_bytes(b"no zip")
    with Reader() as reader:
        reader.read(good)
        before = reader._worker.pid
        with pytest.raises(BadFile, match="damaged"):
            reader.read(str(tmp_path / "bad.docx"))
        assert reader.read(good).text
        assert reader._worker.pid == before


def test_ctrl_c_leaves_no_reply_behind(good, tmp_path):
    (tmp_path / "slow.html").write_text("<div>" * 40_000 + "other text")

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Reader() as reader:
            reader.read(good)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                reader.read(str(tmp_path / "slow.html"))
            assert "25 days." in reader.read(good).text
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_no_worker_is_left(good):
    with Reader() as reader:
        reader.read(good)
        pid = reader._worker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_worker_ends_with_its_parent(good):
    with Reader() as reader:
        reader.read(good)
        worker = reader._worker
        worker.stdin.close()
        assert worker.wait(timeout=10) == 0


def test_the_worker_imports_nothing_heavy_and_nothing_from_here(good, tmp_path, monkeypatch):
    (tmp_path / "zipfile.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Reader() as reader:
        reader.read(good)
        with open(f"/proc/{reader._worker.pid}/maps") as maps:
            loaded = maps.read()
    assert not [name for name in ("numpy", "torch", "faiss", "pyarrow") if f"/{name}/" in loaded]


def test_the_worker_cannot_write(good, tmp_path):
    with Reader() as reader:
        reader.read(good)
        with open(f"/proc/{reader._worker.pid}/limits") as table:
            rows = {line[:26].strip(): line[26:].split()[0] for line in table}
    assert rows["Max file size"] == "0"
    assert rows["Max address space"] == str(limits.PARSER_MEMORY)
    assert int(rows["Max cpu time"]) <= limits.PARSER_SECONDS + 3


def test_names_of_any_bytes(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"a\xff\n\x1b'\"\xe2\x80\xae.docx")
    with open(path, "wb") as file:
        file.write(GOOD)
    with Reader() as reader:
        document = reader.read(os.fsdecode(path))
    assert os.fsencode(document.path) == path


# -- mutants ------------------------------------------------------------------------------------


def mutate(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice([1, 3, 10, 30])):
        at = chance.randrange(len(changed) or 1)
        piece = content[chance.randrange(len(content)) :][: chance.randrange(1, 60)]
        action = chance.randrange(4)
        if action == 0 and changed:
            changed[at] = chance.randrange(256)
        elif action == 1:
            changed[at:at] = piece
        elif action == 2:
            del changed[at : at + len(piece)]
        else:
            changed[at:at] = str(chance.choice([-1, 0, 2**31, 2**63, 10**18])).encode()
    return bytes(changed)


def mutate_inside(content: bytes, chance: random.Random) -> bytes:
    """Change parts of a zip and pack it again: changes of the packed bytes only fail its checks."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in parts if name.startswith("word/") or chance.random() < 0.1]
    for name in chance.sample(names, chance.randrange(1, len(names) + 1)):
        parts[name] = mutate(parts[name], chance)
    return zip_of(parts)


def rich_docx() -> bytes:
    from docx import Document as Word

    document = Word()
    document.add_heading("Title", 1)
    for number in range(5):
        document.add_paragraph(f"Paragraph {number}.", style="List Bullet")
    document.add_table(rows=2, cols=2).cell(0, 0).text = "cell"
    packed = io.BytesIO()
    document.save(packed)
    return packed.getvalue()


def rich_pdf() -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(pdf_of(["One page.", "Two pages."]))))
    writer.add_metadata({"/Title": "A title"})
    for page in writer.pages:
        page.compress_content_streams()
    packed = io.BytesIO()
    writer.write(packed)
    return packed.getvalue()


def check_mutants(tmp_path, suffix, sources, change, count):
    path = tmp_path / f"mutant{suffix}"
    outcomes = {"read": 0, "refused": 0}
    with Reader() as reader:
        for seed in range(count):
            chance = random.Random(seed)
            path.write_bytes(change(chance.choice(sources), chance))
            try:
                document = reader.read(str(path))
            except GraftError as error:
                assert isinstance(error, BadFile | LimitExceeded)
                outcomes["refused"] += 1
            else:
                document.text.encode()
                outcomes["read"] += 1
    assert min(outcomes.values()) > count // 20, outcomes


def test_mutated_pdf(tmp_path):
    check_mutants(tmp_path, ".pdf", [pdf_of(["One.", "Two."]), rich_pdf()], mutate, 40)


def test_mutated_docx(tmp_path):
    check_mutants(tmp_path, ".docx", [GOOD, rich_docx()], mutate_inside, 40)


@pytest.mark.slow
def test_many_mutated_pdf(tmp_path):
    check_mutants(tmp_path, ".pdf", [pdf_of(["One.", "Two."]), rich_pdf()], mutate, 4_000)


@pytest.mark.slow
def test_many_mutated_docx(tmp_path):
    check_mutants(tmp_path, ".docx", [GOOD, rich_docx()], mutate_inside, 2_000)
