"""A saved steer: what is written is read back, and nothing else is taken for it."""

import json

import pytest

from graftwerk import files, folders
from graftwerk.adapters.manifest import RECORD, read_bundle, require_base, write_bundle
from graftwerk.errors import BadFile, BadInput, Damaged, WrongBase

BASE = "a" * 64


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "steer"
    with folders.working_folder(folder) as working:
        files.write_plain(working / "weights.bytes", b"weights")
        (working / "inner").mkdir()
        files.write_plain(working / "inner" / "more", b"more")
        write_bundle(working, "head", "some/base", BASE, {"labels": ["a", "b"]})
    return folder


def test_what_is_written_is_read(saved):
    bundle = read_bundle(saved, "other", "head")
    assert (bundle.kind, bundle.base_name, bundle.base_fingerprint) == ("head", "some/base", BASE)
    assert bundle.content == {"labels": ["a", "b"]}
    require_base(bundle, "another name of it", BASE)


def test_another_base_is_refused_by_both_names(saved):
    with pytest.raises(WrongBase) as caught:
        require_base(read_bundle(saved, "head"), "other/base", "b" * 64)
    for words in ("some/base", "a" * 12, "other/base", "b" * 12):
        assert words in str(caught.value)


def test_another_kind_is_refused(saved):
    with pytest.raises(BadInput, match="holds a 'head', not 'low-rank'"):
        read_bundle(saved, "low-rank")


@pytest.mark.parametrize("name", ["weights.bytes", "inner/more"])
def test_damage_is_named(saved, name):
    (saved / name).write_bytes(b"changed")
    with pytest.raises(Damaged, match=name):
        read_bundle(saved, "head")
    (saved / name).unlink()
    with pytest.raises(Damaged, match=f"lacks {name}"):
        read_bundle(saved, "head")


def test_no_record_is_no_steer(tmp_path):
    with pytest.raises(BadFile, match="not a folder that graftwerk saved"):
        read_bundle(tmp_path, "head")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"base": None}, "not the record"),
        ({"sha256": {"../outside": "0"}}, "outside"),
        ({"sha256": []}, "not the record"),
    ],
)
def test_a_malformed_record_is_refused(saved, change, words):
    record = json.loads((saved / RECORD).read_text())
    files.write_sealed_json(saved / RECORD, record | change)
    with pytest.raises(BadFile, match=words):
        read_bundle(saved, "head")


@pytest.mark.parametrize(
    "change", [{"content": {"labels": ["b", "a"]}}, {"sha256": {}}, {"seal": ""}, {"seal": None}]
)
def test_a_record_that_was_changed_is_refused(saved, change):
    record = json.loads((saved / RECORD).read_text())
    (saved / RECORD).write_text(json.dumps(record | change))
    with pytest.raises(Damaged, match="changed after it was written"):
        read_bundle(saved, "head")


def test_a_record_of_old_has_no_seal(saved):
    record = json.loads((saved / RECORD).read_text())
    del record["seal"]
    (saved / RECORD).write_text(json.dumps(record))
    assert read_bundle(saved, "head").content == {"labels": ["a", "b"]}


def test_weights_that_no_hash_vouches_for_are_refused(saved):
    (saved / "head.safetensors").write_bytes(b"other")
    with pytest.raises(Damaged, match=r"no hash of head\.safetensors"):
        read_bundle(saved, "head")
