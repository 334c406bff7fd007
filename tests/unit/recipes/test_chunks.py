"""What is computed of scenes is computed once, kept whole, and named when it is damaged."""

import numpy as np
import pytest
import torch

from graftwerk.errors import Cancelled, Damaged
from graftwerk.recipes.scenes import open_chunks
from graftwerk.types import Silent

COUNT = 1_500  # two files


def rows(span):
    return torch.arange(span.start, span.stop)[:, None] / torch.tensor([1.0, 2.0])


def opened(make=rows, dimensions=2, monitor=None):
    return open_chunks("rows", COUNT, dimensions, "making", make, monitor or Silent())


def refuse(span):
    raise AssertionError(f"{span} is there already")


def test_rows_are_made_once(cache):
    numbers = np.array([1_400, 3, 1_023, 1_024])
    for make in (rows, refuse):
        found = opened(make).of(numbers)
        assert found.dtype == torch.float32
        assert torch.equal(found, torch.tensor([[n, n / 2] for n in numbers.tolist()]))


def test_a_stop_keeps_whole_files(cache):
    class Stops(Silent):
        def advance(self, count=1):
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        opened(monitor=Stops())
    assert [path.name for path in (cache / "rows").glob("*.npy")] == ["00000000-1024.npy"]
    assert len(opened().of(np.array([1_499]))) == 1


@pytest.mark.parametrize(
    "content", [b"", np.zeros((1_024, 2), np.float32), np.zeros((1_023, 2), np.float16)]
)
def test_damaged_files_are_named(cache, content):
    opened()
    path = cache / "rows" / "00000000-1024.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(Damaged, match="00000000-1024"):
        opened(refuse)


def test_rows_of_another_form_are_refused(cache):
    opened()
    with pytest.raises(Damaged, match="1024 rows of 3 dimensions"):
        opened(refuse, dimensions=4)


def test_bytes_stay_bytes(cache):
    def make(span):
        return torch.arange(span.start, span.stop)[:, None].remainder(251).to(torch.uint8)

    numbers = np.array([1_400, 3, 1_023, 1_024])
    for making in (make, refuse):
        found = opened(making).stored(numbers)
        assert found.dtype == np.uint8
        assert np.array_equal(found[:, 0], numbers % 251)
