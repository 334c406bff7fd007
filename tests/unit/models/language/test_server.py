"""The server writer against a real socket on this machine."""

import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from graftwerk.errors import BadInput, WriterFailed
from graftwerk.models.language import load_writer, openai_server
from graftwerk.models.language.openai_server import ServerWriter
from graftwerk.settings import Settings
from graftwerk.types import Prompt

PROMPT = Prompt(text="The prompt.", question="?")


def event(text=None, finish=None):
    delta = {} if text is None else {"content": text}
    return (
        f"data: {json.dumps({'choices': [{'delta': delta, 'finish_reason': finish}]})}\n\n".encode()
    )


DONE = b"data: [DONE]\n\n"


@contextmanager
def serving(*chunks, status=200, headers=(("Content-Type", "text/event-stream"),), hang=False):
    """A server that gives one prepared reply; yields its address and the requests it got."""
    requests = []
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            try:
                for chunk in chunks:
                    self.wfile.write(chunk)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                return
            if hang:
                released.wait(30)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def write(address, *, timeout=5.0, **more):
    writer = ServerWriter(address, "m", max_tokens=7, timeout=timeout, seed=3, **more)
    return "".join(writer.write(PROMPT))


def test_it_streams_a_whole_reply():
    with serving(event("Foos"), b": ping\n\n", event("ball é"), event(None, "stop"), DONE) as (
        address,
        seen,
    ):
        assert write(address) == "Foosball é"
    path, headers, body = seen[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "The prompt."}],
        "max_tokens": 7,
        "temperature": 0,
        "seed": 3,
        "stream": True,
    }
    assert headers["Accept-Encoding"] == "identity"


def test_pieces_come_as_they_are_written():
    with serving(event("one "), event("two"), event(None, "stop")) as (address, _):
        writer = ServerWriter(address, "m", max_tokens=7, timeout=5.0, seed=0)
        assert list(writer.write(PROMPT)) == ["one ", "two"]


def test_the_key_is_sent_and_never_told(monkeypatch, tmp_path):
    settings = Settings(cache=tmp_path, offline=True, threads=1, writer_key="secret-key")
    monkeypatch.setattr(openai_server, "settings", lambda: settings)
    with serving(b"no", status=401) as (address, seen), pytest.raises(WriterFailed) as caught:
        write(address)
    assert seen[0][1]["Authorization"] == "Bearer secret-key"
    assert "secret-key" not in str(caught.value)


def test_no_proxy_gets_to_see_the_prompt(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(event("yes"), DONE) as (address, _):
        assert write(address) == "yes"


def test_a_server_that_does_not_stream_is_read_too():
    body = json.dumps({"choices": [{"message": {"content": "Foosball"}}]}).encode()
    with serving(body, headers=[("Content-Type", "application/json")]) as (address, _):
        assert write(address) == "Foosball"


def test_usage_and_empty_deltas_are_no_text():
    role = b'data: {"choices": [{"delta": {"role": "assistant", "content": null}}]}\n\n'
    usage = b'data: {"choices": [], "usage": {}}\n\n'
    with serving(role, event("yes"), event(None, "stop"), usage, DONE) as (address, _):
        assert write(address) == "yes"


JSON = [("Content-Type", "application/json")]
BAD_REPLIES = {
    "status 500": (
        {"status": 500},
        [b"boom \x1b[31m" + b"x" * 9000],
        r"answered 500: boom x{195}\.\.\.",
    ),
    "status 404": ({"status": 404}, [b"no such model"], "answered 404: no such model"),
    "redirect": ({"status": 307, "headers": [("Location", "http://evil/v1")]}, [], "answered 307"),
    "half a stream": ({}, [event("half")], "broke off"),
    "half an event": ({}, [event("half"), b'data: {"choi'], "not send a chat completion"),
    "no JSON": ({}, [b"data: hello\n\n"], "not send a chat completion: hello"),
    "not UTF-8": (
        {},
        [b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n'],
        "not send a chat completion",
    ),
    "a list": ({}, [b"data: []\n\n"], "not send a chat completion"),
    "no delta": ({}, [b'data: {"choices": [{}]}\n\n'], "not send a chat completion"),
    "deep JSON": ({}, [b"data: " + b"[" * 100_000 + b"\n\n"], "not send a chat completion"),
    "a long number": ({}, [b"data: " + b"1" * 5_000 + b"\n\n"], "not send a chat completion"),
    "an error": ({}, [b'data: {"error": {"message": "out of memory"}}\n\n'], "out of memory"),
    "empty JSON": ({"headers": JSON}, [b"{}"], "not send a chat completion"),
    "a web page": ({"headers": [("Content-Type", "text/html")]}, [b"<html>"], "broke off"),
    "compressed": ({"headers": [("Content-Encoding", "gzip")]}, [b"\x1f\x8b"], "compressed"),
    "an endless line": ({}, [b"data: " + b"x" * (2 << 20)], "line of more than"),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_bad_reply_is_told(name):
    options, chunks, message = BAD_REPLIES[name]
    with serving(*chunks, **options) as (address, _), pytest.raises(WriterFailed, match=message):
        write(address)


@pytest.mark.parametrize("chunks", [[], [event("half")], [b": ping\n\n"]])
def test_a_server_that_falls_silent_is_told(chunks):
    with serving(*chunks, hang=True) as (address, _), pytest.raises(WriterFailed, match="silent"):
        write(address, timeout=0.2)


def test_keep_alive_is_silence():
    ticks = iter(range(1000))
    writer = ServerWriter(
        "http://h/v1", "m", max_tokens=1, timeout=5.0, seed=0, clock=lambda: float(next(ticks))
    )
    response = httpx.Response(200, content=(chunk for chunk in [event("one"), *[b": ping\n"] * 50]))
    pieces = writer._pieces(response)
    assert next(pieces) == "one"
    with pytest.raises(httpx.ReadTimeout, match="keep-alive"):
        next(pieces)


def test_a_call_of_a_tool_is_no_answer():
    call = {"choices": [{"delta": {"tool_calls": [{"index": 0}]}, "finish_reason": None}]}
    chunk = f"data: {json.dumps(call)}\n\n".encode()
    with (
        serving(chunk, event(None, "tool_calls"), DONE) as (address, _),
        pytest.raises(WriterFailed, match="asks for a tool"),
    ):
        write(address)


@pytest.mark.parametrize("address", ["HTTP://127.0.0.1:1/v1", "Https://h/v1"])
def test_a_scheme_may_be_in_capitals(address, words_encoder):
    writer = load_writer(
        address, model="m", encoder=words_encoder, max_tokens=1, timeout=1.0, device="cpu", seed=0
    )
    assert isinstance(writer, ServerWriter)


class Ticking:
    """A clock on which each look takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@contextmanager
def trickling(begin, piece):
    """A server that sends `begin`, then `piece` again and again, until the client leaves."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)  # for a client that never comes
    sent = []

    def run():
        with suppress(OSError), listener.accept()[0] as connection:
            connection.recv(1 << 16)
            connection.sendall(begin)
            while len(sent) < 5000:
                sent.append(piece)
                connection.sendall(piece)
                time.sleep(0.001)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", sent
    finally:
        thread.join()
        listener.close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("begin", "piece", "words"),
    [
        (OK, b"X-Slow: 1\r\n", "silent for 50 s"),
        (OK + b"X-Slow: ", b"y", "silent for 50 s"),
        (OK + b"\r\n", b": ping\n\n", "5[07] s"),
        (OK + b"\r\n", event("word "), "no whole reply in 57 s"),
        (OK + b"Content-Type: application/json\r\n\r\n", b" ", "no whole reply in 57 s"),
        (b"HTTP/1.1 500 No\r\n\r\n", b"e", r"answered 500|57 s"),
    ],
)
def test_a_server_that_trickles_meets_a_deadline(begin, piece, words):
    with trickling(begin, piece) as (address, sent), pytest.raises(WriterFailed, match=words):
        write(address, timeout=50.0, clock=Ticking())
    assert len(sent) < 5000


def test_an_endless_reply_is_cut(monkeypatch):
    monkeypatch.setattr(openai_server, "_BODY", 10_000)
    with (
        serving(*[event("x" * 1000)] * 20) as (address, _),
        pytest.raises(WriterFailed, match="bytes"),
    ):
        write(address)


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(WriterFailed, match=r"127\.0\.0\.1:1"):
        write("http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    "address", ["http://", "http://user:pa55@host/v1", "http://host/v1?key=1", "http://h:port/v1"]
)
def test_an_address_that_cannot_be_is_refused(address):
    with pytest.raises(BadInput) as caught:
        ServerWriter(address, "m", max_tokens=1, timeout=1.0, seed=0)
    assert "pa55" not in caught.value.message


def test_a_model_must_be_named():
    with pytest.raises(BadInput, match="`writer_model`"):
        ServerWriter("http://127.0.0.1", None, max_tokens=1, timeout=1.0, seed=0)


@pytest.mark.parametrize(
    "address", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"]
)
def test_the_address_may_end_at_the_host_or_at_v1(address):
    writer = ServerWriter(address, "m", max_tokens=1, timeout=1.0, seed=0)
    assert writer._url == "http://h:1/v1/chat/completions"


def test_tokens_are_counted_on_the_safe_side():
    writer = ServerWriter("http://h/v1", "m", max_tokens=1, timeout=1.0, seed=0)
    assert writer.count_tokens("") == 0
    assert writer.count_tokens("a") == 1
    assert writer.count_tokens("twelve chars") == 4
    assert writer.count_tokens("日本語") == 3
