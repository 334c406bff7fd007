"""Commands ask nobody: watched below Python, where libraries of other languages show too."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

from graftwerk.settings import settings

_CALLS = "connect,sendto,sendmsg,sendmmsg"
_TRACER = ("strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={_CALLS}", "-s", "200")
# the internet, or the one who resolves names for others
_ASKS = re.compile(r"AF_INET|io\.systemd\.Resolve|port=htons")
# Each line of standard input is a command; the process lives on as long as its argument says.
_RUN = """
import json, sys, time
from graftwerk.cli import main
for line in sys.stdin:
    assert main(json.loads(line)) == 0, line
time.sleep(float(sys.argv[1]))
"""


@cache
def _works(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def watched(tmp_path):
    """Runs commands in one process; gives what it asked of the network, and files in its home."""
    if not _works(*_TRACER):
        pytest.skip("strace is missing or may not trace here; apt-get install strace")

    def run(commands, seconds=0.0, **changed):
        home, trace = tmp_path / "home", tmp_path / "trace"
        home.mkdir()
        alone = ("unshare", "-n")  # without any interface
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("XDG_", "HF_", "ORT_", "TORCH", "GRAFTWERK_CACHE"))
        }
        done = subprocess.run(
            [*_TRACER, "-o", trace, *(alone if _works(*alone) else ()), sys.executable, "-c", _RUN, str(seconds)],
            input="\n".join(json.dumps(command) for command in commands),
            env=environment | {"HOME": str(home)} | changed,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        requested = [line for line in trace.read_text().splitlines() if _ASKS.search(line)]
        made = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
        return requested, made

    return run


@pytest.fixture
def material(tmp_path):
    """Documents, labeled texts, questions and an image."""
    (tmp_path / "docs").mkdir()
    for number in range(12):
        text = f"Parents may take {number} weeks of leave.\n\nDogs sleep in room {number}.\n"
        (tmp_path / "docs" / f"{number}.md").write_text(text)
    rows = [f"a red {n} cube,red\na blue {n} cone,blue\n" for n in range(12)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(rows))
    pairs = [f"a cube {n},a box {n},{n % 6}\n" for n in range(6)]
    (tmp_path / "pairs.csv").write_text("".join(pairs))
    requested = [("how many weeks of leave?", True), ("who won the cup in 1998?", False)] * 10
    lines = [json.dumps({"question": text, "answerable": known}) for text, known in requested]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "photo.png")


COMMANDS = [
    ["index", "add", "docs", "--index", "ix"],
    ["index", "verify", "--index", "ix"],
    ["search", "parental leave", "--index", "ix"],
    ["ask", "how many weeks?", "--index", "ix"],
    ["calibrate", "questions.jsonl", "--index", "ix"],
    ["embed", "a cube", "a cone", "--out", "vectors.npy"],
    ["eval", "similarity", "pairs.csv"],
    ["models", "list"],
    ["models", "info", "builtin/minilm"],
    ["fit", "texts.csv", "--out", "fit"],
    ["predict", "fit", "a red thing"],
    ["eval", "fit", "fit", "texts.csv"],
    ["generate", "a red cube", "--count", "1", "--steps", "2", "--out", "pictures"],
    ["condition", "canny", "photo.png", "--out", "edges.png"],
    ["classify", "photo.png", "--labels", "a red cube,a blue cone"],
]


def test_main_commands_ask_nobody(watched, material) -> None:
    """A library that reports later than this lasts still leaves its files: both are looked at."""
    requested, made = watched(COMMANDS, GRAFTWERK_CACHE=str(settings().cache))
    assert requested == []
    assert made == []


@pytest.mark.slow
def test_nor_do_they_later(watched, material) -> None:
    """onnxruntime was seen to connect 25 seconds after its first session, in `index add`."""
    requested, made = watched(COMMANDS, seconds=60)
    assert requested == []
    assert made and all(name.startswith(".cache/graftwerk/") for name in made)


def _variables(**changed: str) -> dict[str, str]:
    """Variables of a process that has imported the package, as its own children get them."""
    program = "import graftwerk, os, json; print(json.dumps(dict(os.environ)))"
    retained = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program], env=retained | changed, capture_output=True, text=True, check=True
    )  # fmt: skip
    return json.loads(done.stdout)


def test_what_forbids_it_is_set_by_the_import_alone() -> None:
    found = _variables()
    assert found["ORT_DISABLE_TELEMETRY"] == "1"
    assert found["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert found["ANONYMIZED_TELEMETRY"] == "False"


_FETCH = """
import http.server, json, os, sys, threading
asked = []
class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path + " " + self.headers["user-agent"])
        files = ["config.json", "model.safetensors"]
        body = b'{"model_type": "bert"}'
        if "/tree/" in self.path:
            known = {"type": "file", "size": len(body), "oid": "1" * 40}
            body = json.dumps([known | {"path": name} for name in files]).encode()
        elif "/api/models/" in self.path:
            beside = [{"rfilename": name} for name in files]
            body = json.dumps({"id": "evil/x", "sha": "0" * 40, "siblings": beside}).encode()
        self.send_response(200 if "/x/" in self.path else 404)
        self.send_header("ETag", "1" * 40)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")
    do_HEAD = do_GET
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
if "before" in sys.argv:
    import huggingface_hub, torch
    import huggingface_hub.utils._headers
from graftwerk.models.hub import locate, named_by_user
with named_by_user(["evil/x@main"]):
    assert (locate("evil/x@main") / "config.json").exists()
print("\\n".join(asked))
"""


@pytest.mark.parametrize("when", ["after", "before"])
def test_a_hub_is_asked_for_the_model_alone(tmp_path, when) -> None:
    """huggingface_hub also fetches a list of programs, to say which of them calls, and versions."""
    unset = ("HF_", "XDG_", "DO_NOT_TRACK", "DISABLE_TELEMETRY")
    names = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    done = subprocess.run(
        [sys.executable, "-c", _FETCH, when], env=names | {"HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    requested = done.stdout.splitlines()
    assert any("/resolve/" in line for line in requested)
    assert all("/evil/x/" in line and "torch/" not in line for line in requested), requested
    assert not list(tmp_path.rglob(".agent_harnesses.json"))


def test_what_the_user_set_stays() -> None:
    found = _variables(
        ORT_DISABLE_TELEMETRY="0", HF_HUB_DISABLE_TELEMETRY="", ANONYMIZED_TELEMETRY="True"
    )
    assert found["ORT_DISABLE_TELEMETRY"] == "0"
    assert found["HF_HUB_DISABLE_TELEMETRY"] == ""
    assert found["ANONYMIZED_TELEMETRY"] == "True"


def test_nothing_of_ours_imports_the_library_before() -> None:
    """Whatever module is imported first, the package is, and sets the variables."""
    program = (
        "import graftwerk.models.fast_text, os, sys; "
        "print('onnxruntime' in sys.modules, os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "1"]
