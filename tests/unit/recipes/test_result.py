"""Finished models by folder and by name."""

from pathlib import Path

import pytest

from graftwerk.errors import BadFile, BadInput, UnknownName
from graftwerk.models.hub import builtin_folder
from graftwerk.recipes.result import open_result


def test_built_in_models_go_by_their_names(tmp_path):
    folder = builtin_folder("builtin/blocks-clip")
    assert open_result(Path("builtin/blocks-clip"), "clip") == folder
    assert open_result(folder, "clip") == folder
    with pytest.raises(BadInput, match="of the recipe 'clip', not 'judge'"):
        open_result(Path("builtin/blocks-clip"), "judge")
    with pytest.raises(UnknownName, match="builtin/blocks-clip"):
        open_result(Path("builtin/blocks-clipp"), "clip")
    with pytest.raises(BadFile, match="no finished model"):
        open_result(tmp_path, "clip")
