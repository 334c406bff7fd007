"""HTTP transport with one deadline for the whole exchange.

A client's timeout is that of a single read, so a server that sends a byte now and then never meets
it: a header a second, a word a minute. Here each read may take only what is left of the whole.
"""

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import httpx


class DeadlineTransport(httpx.HTTPTransport):
    """Connects directly, without a proxy; raises `httpx.TimeoutException` at its deadline.

    Attributes:
        deadline: moment of the clock after which nothing is read or written any more.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        context = httpx.create_ssl_context(trust_env=False)
        super().__init__(verify=context)
        self.deadline = float("inf")
        self._clock = clock
        # the only place where a network of one's own can be given is the pool below
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=1,
            network_backend=_Backend(self.seconds_left),
        )

    def seconds_left(self, timeout: float | None) -> float:
        """Return the time a step may take: its timeout, capped by the time to the deadline."""
        left = self.deadline - self._clock()
        if left <= 0:
            raise httpcore.ReadTimeout("the deadline of the whole is over")
        return left if timeout is None else min(left, timeout)


class _Backend(httpcore.SyncBackend):
    def __init__(self, seconds_left: Callable[[float | None], float]) -> None:
        self._seconds_left = seconds_left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = super().connect_tcp(
            host, port, self._seconds_left(timeout), local_address, socket_options
        )
        return _Stream(stream, self._seconds_left)


class _Stream(httpcore.NetworkStream):
    def __init__(
        self,
        stream: httpcore.NetworkStream,
        seconds_left: Callable[[float | None], float],
    ) -> None:
        self._stream = stream
        self._seconds_left = seconds_left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._seconds_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._seconds_left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._seconds_left(timeout))
        return _Stream(stream, self._seconds_left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
