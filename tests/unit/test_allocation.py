"""Freed memory is reused within the context, and handed back after it."""

import json
import platform
import subprocess
import sys
import threading

import pytest

from graftwerk import allocation
from graftwerk.allocation import reused_memory

# In a process of its own: what other tests have freed may serve instead of the kernel.
MEASURE = """
import json, mmap, resource
import numpy as np
from graftwerk.allocation import reused_memory

BYTES = 64 << 20  # above the largest size that glibc learns to keep by itself

def counted():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def faults():  # of one large array that is written and freed
    before = counted()
    np.ones(BYTES, dtype=np.uint8)
    return counted() - before

before = counted()
with mmap.mmap(-1, BYTES) as fresh:
    fresh.write(bytes(BYTES))
seen = counted() - before
with reused_memory():
    faults()
    kept = faults()
faults()
print(json.dumps([seen, kept, faults(), BYTES // resource.getpagesize()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc")
def test_the_kernel_clears_the_pages_of_an_array_once():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, check=True)
    seen, kept, handed_back, pages = json.loads(done.stdout)
    if not seen:
        pytest.skip("this kernel counts no page faults")
    # the kernel may give huge pages, which are fewer, and only for what it gives
    assert kept < min(pages, handed_back) / 4


class Library:
    def __init__(self):
        self.calls = []

    def mallopt(self, name, value):
        self.calls.append((name, value))
        return 1

    def malloc_trim(self, pad):
        self.calls.append("trim")
        return 1


def _enter_and_leave():
    with reused_memory():
        pass


def test_only_the_outermost_context_changes_the_allocator(monkeypatch):
    library = Library()
    monkeypatch.setattr(allocation, "_library", lambda: library)
    with reused_memory():
        begun = list(library.calls)
        with reused_memory():
            pass
        thread = threading.Thread(target=_enter_and_leave)
        thread.start()
        thread.join()
        assert library.calls == begun
    assert library.calls[-1] == "trim"
    assert len(library.calls) > len(begun)
    library.calls.clear()
    with pytest.raises(ValueError, match="stopped"), reused_memory():
        raise ValueError("stopped")
    assert library.calls[-1] == "trim"


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocation, "_library", lambda: None)
    with reused_memory():
        pass
