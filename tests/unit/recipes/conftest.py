import dataclasses

import pytest

from graftwerk.settings import settings


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of this test alone."""
    from graftwerk.recipes import scenes

    own = dataclasses.replace(settings(), cache=tmp_path / "cache", threads=2)
    monkeypatch.setattr(scenes, "settings", lambda: own)
    return own.cache
