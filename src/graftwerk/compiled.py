"""Compilation of kernels: once per machine, then stored in the cache folder."""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.options import DefaultOptions

from .settings import settings

_config: Any = numba.config
F = TypeVar("F", bound=Callable[..., Any])
_SOURCES = ("primitives.py", "maps.py", "rays.py", "renderer.py")


@cache
def _folder() -> str:
    """A cache folder for exactly these sources.

    Numba notices a change in a function's own file only, not in the files of what it calls.
    """
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((Path(__file__).parent / "blocks" / name).read_bytes())
    return str(settings().cache / "kernels" / digest.hexdigest()[:16])


# Counting references to arrays costs more than the arithmetic (2.5 times, measured), and kernels
# that are handed every array have no use for it.
_NO_COUNTING = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}


def compiled(function: F) -> F:
    """Compile `function` with numba: no fast-math and no threads, so that results are exact.

    It must not make arrays: they are handed in. Where no folder can be written the kernel is
    compiled again in every process.
    """
    # a test run may have wrapped it in shape checks, which numba cannot read
    plain = inspect.unwrap(function)
    compile_kernel = partial(numba.njit, nogil=True, error_model="numpy", **_NO_COUNTING)
    former = _config.CACHE_DIR
    _config.CACHE_DIR = _folder()
    try:
        kernel = compile_kernel(cache=True)(plain)
    except RuntimeError:
        kernel = compile_kernel()(plain)
    finally:
        _config.CACHE_DIR = former
    return cast(F, kernel)
