"""Batches made ahead of the step that uses them."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

_MOST = 4  # threads; more wait for each other


def threads_for(device: str) -> int:
    """How many threads make batches: one beside a CPU that trains, several beside a GPU."""
    return 1 if device == "cpu" else max(1, min(_MOST, (os.cpu_count() or 1) // 4))


@contextmanager
def prefetched(
    batch: Callable[[int, int], Any], parts: Iterator[tuple[int, int]], threads: int = 1
) -> Iterator[Iterator[tuple[int, Any]]]:
    """Make the next batches in other threads, one each, while the one before them is in use."""

    def made() -> Iterator[tuple[int, Any]]:
        ahead: deque[tuple[int, Future[Any]]] = deque()
        for first, count in parts:
            ahead.append((first, pool.submit(batch, first, count)))
            if len(ahead) > threads:
                number, future = ahead.popleft()
                yield number, future.result()
        for number, future in ahead:
            yield number, future.result()

    with ThreadPoolExecutor(threads) as pool:
        yield made()
