"""From names to folders, without asking a hub that was not named."""

import httpx
import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

from graftwerk.errors import BadFile, Failure, UnknownName
from graftwerk.models.hub import BUILTIN, locate, named_by_user, no_hub, require_reachable
from graftwerk.settings import settings


@pytest.fixture
def hub(monkeypatch):
    """A hub that keeps the calls and answers with what the test puts into `replies`."""

    class Hub:
        def __init__(self):
            self.calls = []
            self.replies = {}

        def __call__(self, repository, *, revision, allow_patterns, local_files_only):
            self.calls.append((repository, revision, local_files_only))
            assert "*.bin" not in allow_patterns and "*.py" not in allow_patterns
            reply = self.replies[local_files_only]
            if isinstance(reply, Exception):
                raise reply
            return str(reply)

    found = Hub()
    found.replies[True] = hub_errors.LocalEntryNotFoundError("not here")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found)
    return found


@pytest.fixture
def named():
    """The user named the models of these tests himself."""
    with named_by_user(["owner/name@v1", "owner/name@main"]):
        yield


@pytest.fixture
def snapshot(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


def http_error(kind, status):
    return kind("no", response=httpx.Response(status, request=httpx.Request("GET", "http://x")))


def test_builtin():
    assert (locate("builtin/minilm") / "model.safetensors").is_file()


def test_unknown_builtin():
    with pytest.raises(UnknownName, match=r"'builtin/minlm' is not known\. Did you mean"):
        locate("builtin/minlm")


def test_folder(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("models/mine") == tmp_path / "models" / "mine"
    assert locate(str(tmp_path)) == tmp_path


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadFile, match="is a file, not a folder"):
        locate(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    "name",
    ["nosuch", "./no/such", "/no/such", "a/b/c", "a/b@", "", "ä/b", "a/b@../../x", "a/b@x/.."],
)
def test_what_cannot_be_a_hub_id_asks_no_hub(name, hub):
    with pytest.raises(BadFile, match="neither a built-in name nor a folder"):
        locate(name)
    assert not hub.calls


def test_without_a_revision_only_the_cache_is_asked(hub, snapshot):
    with pytest.raises(BadFile, match="write owner/name@main"):
        locate("owner/name")
    hub.replies[True] = snapshot
    assert locate("owner/name") == snapshot
    assert [local for *_, local in hub.calls] == [True, True]


def test_cached_first_then_the_hub(hub, snapshot, named):
    hub.replies[False] = snapshot
    assert locate("owner/name@v1") == snapshot
    assert hub.calls == [("owner/name", "v1", True), ("owner/name", "v1", False)]
    hub.replies[True] = snapshot
    locate("owner/name@v1")
    assert hub.calls[2:] == [("owner/name", "v1", True)]


def test_a_cache_without_weights_is_not_enough(hub, snapshot, tmp_path_factory, named):
    partial = tmp_path_factory.mktemp("partial")
    (partial / "config.json").write_text("{}")
    hub.replies = {True: partial, False: snapshot}
    assert locate("owner/name@v1") == snapshot


def test_what_the_user_did_not_name_is_not_fetched(hub, snapshot):
    hub.replies[False] = snapshot
    with pytest.raises(BadFile, match=r"named by a file.*say so: graft models info owner/name@v1"):
        locate("owner/name@v1")
    with (
        named_by_user(["owner/other@v1", "owner/name", "owner/name@v1x"], ["--model"]),
        pytest.raises(BadFile, match=r"named by a file.*say so: `model` owner/name@v1"),
    ):
        locate("owner/name@v1")
    with named_by_user(["owner/name@v1"]):
        assert locate("owner/name@v1") == snapshot
    with pytest.raises(BadFile, match="named by a file"):
        locate("owner/name@v1")
    assert [local for *_, local in hub.calls] == [True, True, True, False, True]


def test_what_is_cached_may_be_named_by_a_file(hub, snapshot):
    hub.replies[True] = snapshot
    assert locate("owner/name@v1") == snapshot
    require_reachable("owner/name@v1", "--model")
    assert [local for *_, local in hub.calls] == [True, True]


def test_the_base_of_a_static_encoder_is_named_with_it(hub, snapshot):
    hub.replies[False] = snapshot
    with named_by_user(["static:owner/name@v1"]):
        assert locate("owner/name@v1") == snapshot


def test_reachable_is_told_with_the_option(hub):
    require_reachable("builtin/minilm", "--model")
    require_reachable("gone/folder", "--model")  # told when it is loaded
    with (
        named_by_user(["owner/other@v1"], ["--encoder"]),
        pytest.raises(BadFile, match=r"say so: `guide_model` owner/name@v1"),
    ):
        require_reachable("owner/name@v1", "--guide-model")


def test_libraries_cannot_ask_a_hub():
    with no_hub(), pytest.raises(hub_errors.OfflineModeIsEnabled):
        huggingface_hub.HfApi().repo_exists("owner/name")
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_offline_says_how(hub, monkeypatch, named):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings.cache_clear()
    try:
        with pytest.raises(BadFile, match=r"HF_HUB_OFFLINE forbids.*Unset HF_HUB_OFFLINE"):
            locate("owner/name@main")
    finally:
        settings.cache_clear()
    assert [local for *_, local in hub.calls] == [True]


@pytest.mark.parametrize(
    "kind",
    [hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError, hub_errors.GatedRepoError],
)  # fmt: skip
def test_a_model_that_is_not_there(hub, kind, named):
    hub.replies[False] = http_error(kind, 404)
    with pytest.raises(BadFile, match="the hub has no model 'owner/name@main'"):
        locate("owner/name@main")


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("down"),
        hub_errors.HfHubHTTPError.__bases__[0]("down"),
        hub_errors.LocalEntryNotFoundError("down"),
        OSError(),
    ],
)
def test_a_hub_that_does_not_answer(hub, error, named):
    hub.replies[False] = error
    with pytest.raises(Failure, match="did not deliver"):
        locate("owner/name@main")


def test_every_builtin_is_there():
    assert all(locate(name).is_dir() for name in BUILTIN)
    controls = [name for name, entry in BUILTIN.items() if entry.kind == "control branch"]
    assert len(BUILTIN) - len(controls) == 10
