"""`graft generate`: files, metadata, repeats, and what cannot be done."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import graftwerk
from graftwerk import limits
from graftwerk.commands import CATALOGUE
from graftwerk.commands.generate import run_generate
from graftwerk.errors import BadFile, BadInput, Cancelled, Damaged, NoRoom, UnknownName, WrongBase
from graftwerk.generation.provenance import Environment, Record, read_record, write_png
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")


class Notes(Silent):
    def __init__(self, stop_at=None) -> None:
        self.lines = []
        self.steps = 0
        self.stop_at = stop_at

    def note(self, text) -> None:
        self.lines.append(text)

    def advance(self, count=1) -> None:
        self.steps += count
        if self.steps == self.stop_at:
            raise Cancelled("stopped")


@pytest.fixture
def ask(text_pipeline, tmp_path):
    def request(prompt="a red cube", **changes):
        given = {"model": str(text_pipeline), "steps": 3, "out": tmp_path / "out", "seed": 5}
        return graftwerk.Generate(prompt=prompt, **(given | changes))

    return request


def record_of(path):
    with Image.open(path) as image:
        return json.loads(image.text["graftwerk"])


def test_images_sheet_and_report(ask, tmp_path) -> None:
    monitor = Notes()
    report = run_generate(ask(count=3), monitor)
    assert [image.number for image in report.pictures] == [0, 1, 2]
    assert len({image.seed for image in report.pictures}) == 3
    written = {str(path) for path in (tmp_path / "out").iterdir()}
    assert written == {image.path for image in report.pictures} | {report.sheet}
    assert len({Image.open(image.path).tobytes() for image in report.pictures}) == 3
    assert "a-red-cube" in report.pictures[0].path
    assert (report.width, report.height, report.steps, report.cut) == (16, 16, 3, "")
    assert monitor.steps == 3
    assert monitor.lines == []


def test_the_metadata_hold_the_request(ask, tmp_path) -> None:
    report = run_generate(
        ask("a blue cone ✨", count=2, negative="snow", cfg_interval="0.5:3"), Notes()
    )
    record = record_of(report.pictures[1].path)
    assert record["number"] == 1
    assert record["fingerprint"] == report.fingerprint
    assert record["request"]["prompt"] == "a blue cone ✨"
    assert record["request"]["negative"] == "snow"
    assert record["request"]["seed"] == 5
    # an image that is passed on does not tell where its maker keeps things
    assert str(tmp_path / "out") not in json.dumps(record)


def test_the_metadata_hold_the_text_of_web_ui(ask) -> None:
    """Prompt, negative prompt and facts, each where other programs look for it."""
    request = ask(negative="blue, \u2603", sampler="euler_ancestral", cfg=2.5)
    report = run_generate(request, Silent())
    with Image.open(report.pictures[0].path) as image:
        lines = image.info["parameters"].split("\n")
        size = "{}x{}".format(*image.size)
    assert lines[:2] == ["a red cube", "Negative prompt: blue, \u2603"]
    facts = dict(fact.split(": ", 1) for fact in lines[2].split(", ") if ": " in fact)
    assert (facts["Sampler"], facts["CFG scale"], facts["Size"]) == ("Euler a", "2.5", size)
    assert (facts["Steps"], facts["Schedule type"]) == (str(report.steps), "Karras")
    assert facts["Model hash"] == report.fingerprint[:10]


def test_another_size_than_the_model_s_own_is_told(ask) -> None:
    monitor = Notes()
    run_generate(ask(count=1, width=20, height=12), monitor)
    assert monitor.lines == [
        "the model was made for 16 x 16 pixels; at 20 x 12 images often miss the prompt"
    ]


def test_one_image_needs_no_sheet(ask) -> None:
    assert run_generate(ask(count=1), Notes()).sheet is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sampler": "ddpm", "schedule": "model"},
        {"sampler": "ddim", "eta": 0.5, "width": 20, "height": 12},
        {"prompt": "", "negative": "snow"},
        {"prompt": ""},
        {"cfg": 1.0, "sampler": "heun"},
    ],
)
def test_a_repeat_is_the_same_file(ask, tmp_path, changes) -> None:
    prompt = changes.get("prompt", "a red cube")
    sampled = run_generate(ask(**(changes | {"prompt": prompt, "count": 3})), Notes())
    original = sampled.pictures[2]
    monitor = Notes()
    again = run_generate(graftwerk.Generate(from_=original.path, out=tmp_path / "again"), monitor)
    (image,) = again.pictures
    assert (image.number, image.seed) == (2, original.seed)
    assert Path(image.path).read_bytes() == Path(original.path).read_bytes()
    assert again.prompt == prompt
    assert not any("differ" in line for line in monitor.lines)


def test_a_repeat_never_overwrites_its_origin(ask, tmp_path) -> None:
    (original,) = run_generate(ask(count=1), Notes()).pictures
    before = Path(original.path).read_bytes()
    request = graftwerk.Generate(from_=original.path, out=tmp_path / "out")
    (again,) = run_generate(request, Notes()).pictures
    assert again.path != original.path
    assert Path(again.path).read_bytes() == before == Path(original.path).read_bytes()


def test_a_repeat_with_changes(ask, tmp_path) -> None:
    original = run_generate(ask(count=2), Notes()).pictures[1]
    request = graftwerk.Generate(from_=original.path, cfg=1.0, out=tmp_path / "out")
    (changed,) = run_generate(request, Notes()).pictures
    record = record_of(changed.path)
    assert (record["request"]["cfg"], record["request"]["prompt"]) == (1.0, "a red cube")
    assert record["number"] == 1
    assert Image.open(changed.path).tobytes() != Image.open(original.path).tobytes()
    more = graftwerk.Generate(from_=original.path, count=4, out=tmp_path / "more")
    assert len(run_generate(more, Notes()).pictures) == 4


def test_images_of_a_larger_count_are_the_same_but_for_rounding(ask) -> None:
    few, many = (
        run_generate(ask(count=2), Notes()).pictures,
        run_generate(ask(count=5), Notes()).pictures,
    )
    for one, other in zip(few, many, strict=False):
        assert one.seed == other.seed
    first, second = (
        Image.open(run_generate(ask(count=n), Notes()).pictures[1].path) for n in (2, 5)
    )
    pairs = zip(first.tobytes(), second.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 1


def test_another_request_gets_another_name(ask) -> None:
    paths = {
        run_generate(ask(count=1, **c), Notes()).pictures[0].path
        for c in ({}, {"cfg": 2}, {"seed": 6})
    }
    assert len(paths) == 3


def test_unconditional_pixels(pixel_pipeline, tmp_path) -> None:
    given = {"model": str(pixel_pipeline), "steps": 3, "out": tmp_path, "count": 2}
    report = run_generate(graftwerk.Generate(**given, sampler="ddpm", schedule="model"), Notes())
    assert (report.width, report.height, len(report.pictures)) == (8, 8, 2)
    with pytest.raises(BadInput, match="takes no prompt"):
        run_generate(graftwerk.Generate(prompt="a cube", **given), Notes())


def test_two_text_encoders(xl_pipeline, tmp_path) -> None:
    request = graftwerk.Generate(
        prompt="a red cube", model=str(xl_pipeline), steps=2, count=1, out=tmp_path
    )
    assert len(run_generate(request, Notes()).pictures) == 1


def test_guidance_outside_its_interval_changes_nothing(ask) -> None:
    plain = run_generate(ask(count=1, cfg=1.0), Notes()).pictures[0].path
    never = run_generate(ask(count=1, cfg=9.0, cfg_interval="1000:2000"), Notes()).pictures[0].path
    always = run_generate(ask(count=1, cfg=9.0), Notes()).pictures[0].path
    assert Image.open(plain).tobytes() == Image.open(never).tobytes()
    assert Image.open(plain).tobytes() != Image.open(always).tobytes()


def test_previews(ask, tmp_path) -> None:
    report = run_generate(ask(count=2, previews=tmp_path / "steps"), Notes())
    files = sorted(path.name for path in (tmp_path / "steps").iterdir())
    assert len(files) == 2 * 3
    assert files[0].endswith("-000-step-001.png")
    last = Image.open(tmp_path / "steps" / files[2])
    assert last.tobytes() == Image.open(report.pictures[0].path).tobytes()


def test_finished_images_are_kept_when_stopped(ask, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(
        __import__("graftwerk.diffusion.sampling", fromlist=["x"])._BATCH_IMAGES, "cpu", 2
    )
    monitor = Notes(stop_at=5)
    with pytest.raises(Cancelled):
        run_generate(ask(count=6), monitor)
    retained = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name[-8:] for name in retained] == ["-000.png", "-001.png"]
    assert "2 finished images" in monitor.lines[0]


def test_no_prompt_is_told(ask) -> None:
    for prompt in ("", "  "):
        monitor = Notes()
        (image,) = run_generate(ask(prompt, count=1), monitor).pictures
        assert "no prompt" in monitor.lines[0]
        assert Path(image.path).name.startswith("picture-")


def test_a_long_prompt_tells_what_was_cut(ask) -> None:
    monitor = Notes()
    report = run_generate(ask("red cube " * 5000, count=1), monitor)
    assert len(report.cut.split()) == 10_000 - 14
    assert "9,986 words" in monitor.lines[0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"sampler": "eulr"}, BadInput, "Did you mean euler"),
        ({"eta": 0.5}, BadInput, "takes no eta"),
        ({"width": 15}, BadInput, "multiples of 2"),
        ({"height": 1}, BadInput, "multiples of 2"),
        ({"steps": 1001, "schedule": "model"}, BadInput, "schedule of 1000"),
        ({"cfg_interval": "3:1"}, BadInput, "interval '3:1'"),
        ({"model": "builtin/block"}, UnknownName, "Did you mean builtin/blocks"),
        ({"model": "/nowhere/at/all"}, BadFile, "neither a built-in name"),
        ({"device": "mps"}, BadInput, "not available here"),
    ],
)
def test_what_cannot_be_done(ask, tmp_path, changes, error, message) -> None:
    with pytest.raises(error, match=message):
        run_generate(ask(**changes), Notes())
    assert not (tmp_path / "out").exists()


def test_the_longest_prompts_fit_the_metadata(ask, tmp_path) -> None:
    long = "✨" * limits.PROMPT_CHARACTERS
    request = ask(long, negative=long)
    there = Environment(device="cpu", threads=1, torch="2")
    record = Record(request=request, fingerprint="f", number=0, together=(0,), surroundings=there)
    write_png(tmp_path / "p.png", Image.new("RGB", (4, 4)), record)
    assert read_record(tmp_path / "p.png").request.prompt == long


@pytest.mark.parametrize(
    ("field", "limit"),
    [
        ("count", limits.IMAGES),
        ("steps", limits.SAMPLING_STEPS),
        ("width", limits.GENERATED_SIDE),
        ("height", limits.GENERATED_SIDE),
    ],
)
def test_limits(ask, field, limit) -> None:
    assert getattr(ask(**{field: limit}), field) == limit
    with pytest.raises(BadInput, match=field):
        ask(**{field: limit + 1})


def test_the_limit_of_a_prompt(ask) -> None:
    ask("x" * limits.PROMPT_CHARACTERS, negative="x" * limits.PROMPT_CHARACTERS)
    for field in ("prompt", "negative"):
        with pytest.raises(BadInput, match=field):
            ask(**{field: "x" * (limits.PROMPT_CHARACTERS + 1)})


@pytest.mark.parametrize("changes", [{"steps": 0}, {"count": 0}, {"width": 0}, {"height": 10**6}])
def test_numbers_out_of_range(ask, changes) -> None:
    with pytest.raises(BadInput, match=next(iter(changes))):
        ask(**changes)


@pytest.mark.parametrize("name", ["file", "file/within", "x" * 300])
@pytest.mark.parametrize("field", ["out", "previews"])
def test_an_out_folder_that_cannot_be_one(ask, tmp_path, name, field) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadFile, match="cannot be a folder"):
        run_generate(ask(**{field: tmp_path / name}), Notes())


def test_an_out_folder_that_cannot_be_written(ask, monkeypatch) -> None:
    def mkdir(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(NoRoom, match="cannot write"):
        run_generate(ask(), Notes())


def image_with(path, text):
    metadata = PngInfo()
    if text is not None:
        metadata.add_text("graftwerk", text)
    Image.new("RGB", (4, 4)).save(path, pnginfo=metadata)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "contains no request"),
        ("", "cannot be read"),
        ("{}", "request: Field required"),
        ("[" * 100_000, "cannot be read"),
        ('{"request": {"prompt": 3}}', "cannot be read"),
        ("x" * 8_000_001, "contains no request"),
    ],
)
def test_an_image_without_a_request(tmp_path, text, message) -> None:
    path = image_with(tmp_path / "p.png", text)
    with pytest.raises(BadFile, match=message):
        run_generate(graftwerk.Generate(from_=path, out=tmp_path / "out"), Notes())


def test_a_file_that_is_no_image(tmp_path) -> None:
    (tmp_path / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    Image.new("RGB", (4, 4)).save(tmp_path / "p.jpg")
    for name in ("p.png", "p.jpg", "absent.png"):
        with pytest.raises(BadFile, match=name):
            run_generate(graftwerk.Generate(from_=tmp_path / name, out=tmp_path / "out"), Notes())


def forged(ask, tmp_path, **changes):
    """An image whose record says something else."""
    (image,) = run_generate(ask(count=1), Notes()).pictures
    record = record_of(image.path)
    request = record.pop("request") | changes.pop("request", {})
    return image_with(tmp_path / "p.png", json.dumps(record | {"request": request} | changes))


def test_a_record_that_contradicts_itself(ask, tmp_path) -> None:
    with pytest.raises(BadFile, match="contradicts itself"):
        run_generate(graftwerk.Generate(from_=forged(ask, tmp_path, number=7)), Notes())


def test_an_image_never_fetches_a_model_by_itself(ask, tmp_path) -> None:
    path = forged(ask, tmp_path, request={"model": "somebody/model@main"})
    with pytest.raises(BadInput, match=r"say so: `model` somebody/model@main"):
        run_generate(graftwerk.Generate(from_=path, out=tmp_path / "out"), Notes())


@pytest.fixture
def hub(monkeypatch):
    """Calls of a hub that has nothing."""
    import huggingface_hub

    calls = []

    def snapshot(repository, *, local_files_only, **options):
        calls.append((repository, local_files_only))
        raise huggingface_hub.errors.LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return calls


@pytest.mark.parametrize(
    ("guide", "field"),
    [
        ("class=cone:2", "guide_model"),
        ("text=a cone:2", "guide_encoder"),
        ("image=p.png:2", "guide_encoder"),
    ],
)
def test_nor_a_model_of_its_guides(ask, tmp_path, hub, monkeypatch, guide, field) -> None:
    monkeypatch.chdir(tmp_path)
    request = {"guide": [guide], "guide_plain": True, field: "evil/x@main"}
    path = forged(ask, tmp_path, request=request, guides=["0" * 64])
    with pytest.raises(BadFile, match=f"say so: `{field}` evil/x@main"):
        run_generate(graftwerk.Generate(from_=path, out=tmp_path / "again"), Notes())
    assert set(hub) == {("evil/x", True)}


def test_a_model_that_the_user_names_too_is_fetched(ask, tmp_path, hub) -> None:
    path = forged(ask, tmp_path, request={"model": "somebody/model@main"})
    request = graftwerk.Generate(from_=path, model="somebody/model@main", out=tmp_path / "again")
    [command] = [command for command in CATALOGUE if command.request is graftwerk.Generate]
    with pytest.raises(graftwerk.GraftError, match="did not deliver"):
        command.load()(request, Notes())
    assert hub[-1] == ("somebody/model", False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("out", "EVIL"),
        ("previews", "EVIL"),
        ("previews", None),
        ("from_", "p.png"),
        ("device", "cuda"),
        ("check", False),
    ],
)
def test_a_record_that_says_where_to_write(ask, tmp_path, monkeypatch, field, value) -> None:
    monkeypatch.chdir(tmp_path)
    path = forged(ask, tmp_path, request={field: value})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadFile, match=f"the request in .* says {field}:"):
        run_generate(graftwerk.Generate(from_=path, out=tmp_path / "again"), Notes())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("together", "message"),
    [
        ([-1, 0], r"together\.0: Input should be greater than or equal to 0"),
        ([10**30, 0], "together"),
        (list(range(65)), "together: .* at most 64 items"),
        ([0, 0], "contradicts itself"),
        ([], "together"),
    ],
)
def test_a_batch_that_is_none(ask, tmp_path, together, message) -> None:
    path = forged(ask, tmp_path, together=together)
    with pytest.raises(BadFile, match=message):
        run_generate(graftwerk.Generate(from_=path, out=tmp_path / "again"), Notes())


def test_a_batch_is_no_larger_than_any_device_draws(ask, tmp_path) -> None:
    size = {"width": 512, "height": 512}
    path = forged(ask, tmp_path, together=list(range(17)), request=size)
    with pytest.raises(BadFile, match=r"17 images of 512 x 512 pixels .* at most 16 are"):
        run_generate(graftwerk.Generate(from_=path, out=tmp_path / "again"), Notes())


def test_a_model_that_changed_since(ask, tmp_path, text_pipeline) -> None:
    copy = shutil.copytree(text_pipeline, tmp_path / "copy")
    (image,) = run_generate(ask(count=1, model=str(copy)), Notes()).pictures
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("epsilon", "v_prediction"))
    with pytest.raises(WrongBase, match=r"was made on .*copy"):
        run_generate(graftwerk.Generate(from_=image.path, out=tmp_path / "again"), Notes())
    monitor = Notes()
    request = graftwerk.Generate(from_=image.path, model=str(copy), out=tmp_path / "again")
    run_generate(request, monitor)
    assert "another model" in monitor.lines[0]


def test_other_surroundings_are_told(ask, tmp_path) -> None:
    there = {"device": "cuda", "threads": 64, "torch": "9.9"}
    path = forged(ask, tmp_path, surroundings=there)
    monitor = Notes()
    run_generate(graftwerk.Generate(from_=path, out=tmp_path / "again"), monitor)
    assert "PyTorch 9.9 on cuda with 64 threads" in monitor.lines[0]


def test_a_truncated_part(ask, tmp_path, text_pipeline) -> None:
    copy = shutil.copytree(text_pipeline, tmp_path / "copy")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Damaged, match="unet"):
        run_generate(ask(model=str(copy)), Notes())


def test_one_image_in_a_file_of_its_own(ask, tmp_path) -> None:
    path = tmp_path / "new" / "cube.png"
    report = run_generate(ask(out=path), Silent())
    assert [image.path for image in report.pictures] == [str(path)]
    assert list(path.parent.iterdir()) == [path] and read_record(path).number == 0
    run_generate(ask(out=path, seed=6), Silent())  # an image of ours may be replaced
    assert read_record(path).request.seed == 6
    repeated = run_generate(graftwerk.Generate(from_=path, out=path), Silent())
    assert Path(repeated.pictures[0].path).name == "cube-again.png"
    third = run_generate(ask(count=3), Silent()).pictures[2].path
    run_generate(graftwerk.Generate(from_=Path(third), out=path), Silent())
    assert Image.open(path).tobytes() == Image.open(third).tobytes()


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("cube.png", {"count": 2}, "one file, and there are several images. Name a folder"),
        (
            "cube.png",
            {"grid": ["eta=0,1"], "sampler": "ddim"},
            "one file, and there are several images",
        ),
        ("cube.jpg", {}, "is not a .png file"),
        ("x" * 300 + ".png", {}, "File name too long"),
        ("photo.png", {}, "exists and is not a generated image. Name another file"),
    ],
)
def test_a_file_that_images_cannot_be_written_to(ask, tmp_path, name, changes, words) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    with pytest.raises(BadInput, match=words):
        run_generate(ask(out=tmp_path / name, **changes), Silent())
    assert [one.name for one in tmp_path.iterdir()] == ["photo.png"]
    assert (tmp_path / "photo.png").read_bytes() == before


def test_a_larger_size_than_the_model_s_own_is_told(ask) -> None:
    monitor = Notes()
    run_generate(ask(count=1, width=24, height=16), monitor)
    assert monitor.lines == [
        "the model was made for 16 x 16 pixels; at 24 x 16 it tends to repeat things"
    ]
