"""Batches made ahead of the step that uses them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def prefetched(
    batch: Callable[[int, int], Any], parts: Iterator[tuple[int, int]]
) -> Iterator[Iterator[tuple[int, Any]]]:
    """Make each batch in another thread while the one before it is in use."""

    def made() -> Iterator[tuple[int, Any]]:
        ahead = None
        for first, count in parts:
            coming = first, pool.submit(batch, first, count)
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = coming
        if ahead is not None:
            yield ahead[0], ahead[1].result()

    with ThreadPoolExecutor(1) as pool:
        yield made()
