"""Errors of the kernel put into a command of `graft`, call by call, by strace.

What writes is Python, SQLite in C and safetensors in Rust, so nothing above the kernel sees all of
it. strace joins a fork that waits at a gate, which costs no start of Python.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.forking import Forking

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat2", "mkdir")
_CALL = re.compile(rf"^(\d+)\s+({'|'.join(CALLS)})\((.*)")


@dataclass(frozen=True)
class Fault:
    """The so-many-th call of a name fails."""

    call: str
    number: int
    error: str


@cache
def can_trace() -> bool:
    """Whether strace is there and may join a process."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


class Injecting:
    """Runs `graft` in forks that strace has joined."""

    def __init__(self, forking: Forking, environment: Mapping[str, str] = os.environ) -> None:
        self._forking = forking
        self._environment = dict(environment)

    def run(self, arguments: list[str], folder: Path, fault: Fault) -> tuple[int, str, int]:
        """Run a command with a fault.

        Returns:
            Its exit code, what it wrote to standard error, and how often it asked the network.
        """
        inject = f"{fault.call}:error={fault.error}:when={fault.number}"
        options = ["-e", f"trace={fault.call},connect,sendto", "-e", f"inject={inject}"]
        log = folder / "calls"
        code, err = self._traced(arguments, folder, log, options)
        lines = log.read_text("utf-8", "replace").splitlines()
        log.unlink()
        if not err and any("write(2," in line and "INJECTED" in line for line in lines):
            err = "(strace counts for each thread: the message's own write failed too)"
        return code, err, sum("AF_INET" in line for line in lines)

    def calls(self, arguments: list[str], folder: Path) -> Counter[str]:
        """How often a command makes each call, in its first thread."""
        log = folder / "calls"
        code, err = self._traced(arguments, folder, log, ["-e", f"trace={','.join(CALLS)}"])
        assert code == 0, err
        found = [match for line in log.read_text().splitlines() if (match := _CALL.match(line))]
        log.unlink()
        return Counter(match[2] for match in found if match[1] == found[0][1])

    def _traced(
        self, arguments: list[str], folder: Path, log: Path, options: list[str]
    ) -> tuple[int, str]:
        err, gate = folder / "stderr", folder / "gate"
        err.write_bytes(b"")
        os.mkfifo(gate)
        pid = self._forking.start(
            arguments=arguments,
            cwd=str(folder),
            environment=self._environment,
            files=[os.devnull, os.devnull, str(err)],
            gate=str(gate),
        )
        command = ["strace", "-f", "-p", str(pid), "-o", str(log), *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            line = tracer.stderr.readline()
            assert "attached" in line, line
            gate.write_bytes(b"go")
            code = os.waitstatus_to_exitcode(self._forking.finish())
            tracer.stderr.read()
        gate.unlink()
        text = err.read_text("utf-8", "replace")
        err.unlink()
        return code, text


def spread(calls: Counter[str], most: int) -> list[Fault]:
    """Faults at every call of a command, or evenly at so many, with either error in turn."""
    every = [
        (call, number) for call, count in sorted(calls.items()) for number in range(1, count + 1)
    ]
    step = max(1.0, len(every) / most)
    chosen = [every[int(location * step)] for location in range(int(len(every) / step))]
    errors = ("EIO", "ENOSPC")
    return [Fault(*one, errors[location % 2]) for location, one in enumerate(chosen)]
