import numpy as np

from graftwerk import compiled as module
from graftwerk.compiled import compiled


def test_without_a_folder_to_write_kernels_still_compile(monkeypatch) -> None:
    import numba

    real = numba.njit

    def refuse_cache(*arguments, **options):
        if options.get("cache"):
            raise RuntimeError("no locator available")
        return real(*arguments, **options)

    monkeypatch.setattr(numba, "njit", refuse_cache)

    @compiled
    def double(value: float) -> float:
        return 2 * value

    assert double(1.5) == 3.0
    assert double.nopython_signatures


def test_numba_is_left_as_it_was() -> None:
    import numba

    former = numba.config.CACHE_DIR

    @compiled
    def first(values: np.ndarray) -> float:
        return values[0]

    assert former == numba.config.CACHE_DIR
    assert first(np.array([4.0])) == 4.0


def test_the_cache_belongs_to_the_sources() -> None:
    module._folder.cache_clear()
    folder = module._folder()
    sources = module._SOURCES
    try:
        module._SOURCES = sources[:-1]
        module._folder.cache_clear()
        assert module._folder() != folder
    finally:
        module._SOURCES = sources
        module._folder.cache_clear()


def test_every_file_with_kernels_is_a_source() -> None:
    from pathlib import Path

    files = (Path(module.__file__).parent / "blocks").glob("*.py")
    with_kernels = {path.name for path in files if "@compiled\n" in path.read_text()}
    assert with_kernels <= set(module._SOURCES)
    assert len(with_kernels) == 3
