"""A language model behind an OpenAI-compatible server, streamed."""

import json
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore
import httpx

from ... import files, limits
from ...errors import BadInput, WriterFailed
from ...settings import settings
from ...text_safety import plain_text
from ...types import Prompt
from . import without_marks


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
            ssl_context=context, max_connections=1, network_backend=_Backend(self.seconds_left)
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
        self, stream: httpcore.NetworkStream, seconds_left: Callable[[float | None], float]
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


_LINE = 1024 * 1024  # bytes of one event
_BODY = 64 * limits.REPLY_CHARACTERS  # bytes of a whole reply; an event is some 200 per token
_SHOWN = 200  # characters of a server's own message
_EVENT = b"data:"
_END = b"[DONE]"
_ADDRESS_HINT = "Write http://HOST:PORT/v1; a key goes into OPENAI_API_KEY."


class ServerWriter:
    """Client that sends `POST {address}/chat/completions` and yields the streamed reply.

    No proxy, no redirect and no cookie: the prompt goes to the named address and nowhere else.

    Args:
        address: up to and with `/v1`; without a path, `/v1` is added.
        model: name of the model on that server.
        max_tokens: longest answer.
        timeout: seconds without a further piece of the answer after which the server has failed;
            the whole answer may take a second more for each token.
        seed: sent along; temperature is 0.

    Raises:
        BadInput: the address is malformed or no model is named.
    """

    def __init__(
        self,
        address: str,
        model: str | None,
        *,
        max_tokens: int,
        timeout: float,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = address
        self.extractive = False
        self._url = _endpoint(address)
        if not model:
            raise BadInput(
                f"writer {address} needs the name of a model.",
                f"Add --writer-model NAME; {address.rstrip('/')}/models lists them.",
            )
        self._request = {
            "model": model,
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": seed,
            "stream": True,
        }
        self._timeout = timeout
        self._longest = timeout + max_tokens * limits.TOKEN_SECONDS
        self._clock = clock

    def count_tokens(self, text: str) -> int:
        """An estimate on the safe side, as no tokenizer is at hand.

        Byte-pair tokenizers average 4 characters of English a token and one for each character of
        a script that their vocabulary hardly holds; counted are 3 of ASCII, one of others.
        """
        rare = sum(character > "\x7f" for character in text)
        return -(-(len(text) - rare) // 3) + rare

    def write(self, prompt: Prompt) -> Iterator[str]:
        """Yield the answer piece by piece."""
        body = {**self._request, "messages": [{"role": "user", "content": prompt.text}]}
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if settings().writer_key:
            headers["Authorization"] = f"Bearer {settings().writer_key}"
        transport = DeadlineTransport(self._clock)
        begin = self._clock()
        transport.deadline = begin + self._timeout
        try:
            with (
                httpx.Client(transport=transport, timeout=self._timeout) as client,
                client.stream("POST", self._url, json=body, headers=headers) as response,
            ):
                transport.deadline = begin + self._longest
                self._require_success(response)
                if "application/json" in response.headers.get("content-type", ""):
                    pieces: Iterable[str] = [self._whole(b"".join(self._chunks(response)))]
                else:
                    pieces = self._pieces(response)
                yield from without_marks(pieces, prompt.nonce)
        except httpx.TimeoutException as error:
            seconds = self._longest if self._clock() >= begin + self._longest else self._timeout
            late = "gave no whole reply in" if seconds == self._longest else "was silent for"
            raise WriterFailed(
                f"{self.name} {late} {seconds:g} s.",
                "See whether the server is well, or raise --timeout.",
            ) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise WriterFailed(
                f"{self.name}: {_short(str(error)) or type(error).__name__}.",
                "See whether the server runs at this address.",
            ) from error

    def _require_success(self, response: httpx.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise WriterFailed(
                f"{self.name} sends a compressed reply unasked.", "Turn its compression off."
            )
        if response.is_success:
            return
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _SHOWN * 4:
                break
        raise WriterFailed(
            f"{self.name} answered {response.status_code}: {_short(body.decode(errors='replace'))}",
            "See the server's log; check --writer, --writer-model and OPENAI_API_KEY.",
        )

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        total = 0
        for chunk in response.iter_bytes():
            total += len(chunk)
            if total > _BODY:
                raise WriterFailed(
                    f"{self.name} sent more than {_BODY:,} bytes.", "Lower --max-tokens."
                )
            yield chunk

    def _pieces(self, response: httpx.Response) -> Iterator[str]:
        """Yield the pieces of a stream of server-sent events.

        Keep-alive lines and half lines are no answer: silence is measured between pieces.
        """
        finished, heard = False, self._clock()
        for lines in _lines(self._chunks(response)):
            for line in lines:
                if not line.startswith(_EVENT):
                    continue
                event = line.removeprefix(_EVENT).strip()
                if event == _END:
                    return
                piece, ends = self._piece_of(event)
                finished = finished or ends
                if piece:
                    yield piece
                    heard = self._clock()
            if self._clock() - heard > self._timeout:
                raise httpx.ReadTimeout("nothing but keep-alive")
        if not finished:
            raise WriterFailed(
                f"{self.name} broke off in the middle of its reply.", "See its log; ask again."
            )

    def _piece_of(self, event: bytes) -> tuple[str, bool]:
        content = self._object(event)
        choices = content.get("choices")
        if choices == []:  # usage figures
            return "", False
        match choices:
            case [{"delta": {"content": str(text)}, **rest}, *_]:
                return text, rest.get("finish_reason") is not None
            case [{"delta": {"tool_calls": [_, *_]}}, *_]:
                raise WriterFailed(
                    f"{self.name} asks for a tool instead of answering, and none was offered.",
                    "Turn tools off at the server, or name another --writer-model.",
                )
            case [{"delta": dict(), **rest}, *_]:
                return "", rest.get("finish_reason") is not None
        raise self._malformed(event)

    def _whole(self, body: bytes) -> str:
        """Return the text of a reply that is not streamed."""
        match self._object(body).get("choices"):
            case [{"message": {"content": str(text)}}, *_]:
                return text
        raise self._malformed(body)

    def _object(self, body: bytes) -> dict[str, Any]:
        try:
            content = files.parse_json(body.decode("utf-8"))
        except ValueError:
            raise self._malformed(body) from None
        if not isinstance(content, dict):
            raise self._malformed(body)
        if content.get("error"):
            raise WriterFailed(
                f"{self.name} failed: {_short(json.dumps(content['error']))}", "See its log."
            )
        return content

    def _malformed(self, body: bytes) -> WriterFailed:
        return WriterFailed(
            f"{self.name} did not send a chat completion: {_short(body.decode(errors='replace'))}",
            "See whether it is an OpenAI-compatible server, and whether the address ends in /v1.",
        )


def _lines(chunks: Iterator[bytes]) -> Iterator[list[bytes]]:
    held = b""
    for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        if len(held) > _LINE:
            raise WriterFailed(
                f"the server sent a line of more than {_LINE:,} bytes.",
                "See whether it is an OpenAI-compatible server.",
            )
        yield lines
    yield [held]


def _endpoint(address: str) -> str:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise BadInput(f"writer {address!r} is not an address: {error}.", _ADDRESS_HINT) from None
    if not url.host or url.userinfo or url.query or url.fragment:
        raise BadInput(
            "the writer's address holds a name and password, a query, or no host.", _ADDRESS_HINT
        )
    path = "/v1" if url.path in {"", "/"} else url.path.rstrip("/")
    return str(url.copy_with(path=f"{path}/chat/completions"))


def _short(text: str) -> str:
    line = " ".join(plain_text(text).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
