"""What README and docs show is what the commands print."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def fill():
    spec = importlib.util.spec_from_file_location("fill", ROOT / "docs" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_blocks() -> list[Path]:
    return [page for page in PAGES if "```console" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", with_blocks(), ids=lambda page: page.name)
def test_console_blocks_show_real_output(fill, commands, page: Path) -> None:
    def start(arguments: list[str], folder: Path) -> str:
        done = commands(*arguments, cwd=folder, **fill.WIDTH)
        return done.out + done.err

    now = fill.filled(page, start)
    assert fill.TIME.sub("N", now) == fill.TIME.sub("N", page.read_text("utf-8"))


def test_a_changed_page_is_told(fill, tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ graft greet\nhello in 3 s\n```\n")
    assert fill.holds(page, fill.filled(page, lambda *_: "hello in 5 s"))
    assert not fill.holds(page, fill.filled(page, lambda *_: "good day in 3 s"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_make_targets_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in re.findall(r"`make ([a-z-]+)`", text):
        assert name in targets, name
