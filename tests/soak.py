"""Commands stopped and failed at moments of chance, again and again; prints counts.

    python -m tests.soak            a few minutes
    python -m tests.soak 20         twenty times as long

Each job runs once undisturbed, which gives its duration and its result. Then it is disturbed at a
random moment (SIGKILL, SIGTERM, SIGINT) or at a random call of the kernel (EIO, ENOSPC), and run
again. The second run must succeed and give the same files.
"""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.commands import Forking

from graftwerk.search.database import DATABASE

ROOT = Path(__file__).parents[1]
LONGEST = 120  # seconds of one run; a run that is longer hangs
JOBS: dict[str, list[str]] = {
    "index add": ["index", "add", "docs", "--index", "out"],
    "generate": ["generate", "a red cube", "--count", "4", "--steps", "4", "--out", "out"],
    "blocks render": ["blocks", "render", "--count", "40", "--size", "32", "--out", "out"],
    "fit linear": ["fit", "texts.csv", "--target", "label", "--how", "linear", "--out", "out"],
    "recipe run": ["recipe", "run", "judge", "--tiny", "--steps", "8", "--out", "out"],
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
INJECTED = ("write", "pwrite64", "fsync", "fdatasync", "rename", "mkdir")
ONCE = {"blocks render"}  # what is finished is not made again, but refused
# What a result says of when and how fast it was made, or of the folder that it lies in.
CHANGING = {"graft.json", "log.jsonl", "loss.png", "README.md", "manifest.json"}


def make_inputs(folder: Path) -> None:
    """Documents and labelled texts."""
    (folder / "docs").mkdir()
    rows = ["text,label"]
    for number in range(24):
        (folder / "docs" / f"{number:02}.html").write_text(f"<p>Rule {number} says no. " * 40)
        words = ("good fine bright", "bad poor dull")[number % 2]
        rows.append(f"{words} number {number},{'ab'[number % 2]}")
    (folder / "texts.csv").write_text("\n".join(rows) + "\n")


def result_of(folder: Path) -> dict[str, str]:
    """The files of a result with their hashes; of an index the texts that it holds."""
    out = folder / "out"
    if (out / DATABASE).exists():
        with contextlib.closing(sqlite3.connect(out / DATABASE)) as connection:
            rows = connection.execute("SELECT text FROM passages ORDER BY text").fetchall()
        return {"passages": hashlib.sha256(repr(rows).encode()).hexdigest()}
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in CHANGING and not path.name.startswith(".")
        if "checkpoints" not in path.parts
    }


class Soak:
    """Runs jobs in forks of one process that has imported everything."""

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.random = random.Random(seed)
        self._forking = Forking("tests.commands")

    def run(
        self, job: str, folder: Path, *, after: float = 0.0, number: int = 0
    ) -> tuple[int, str, float]:
        """One run, stopped by a signal `number` after so many seconds: code, stderr, seconds."""
        err = folder / "stderr"
        err.write_bytes(b"")
        began = time.monotonic()
        pid = self._forking.start(
            arguments=JOBS[job],
            cwd=str(folder),
            environment=dict(os.environ),
            files=[os.devnull, os.devnull, str(err)],
        )
        if number:
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        code = os.waitstatus_to_exitcode(self._forking.finish())
        seconds = time.monotonic() - began
        self.counts["longer than the deadline"] += seconds > LONGEST + after
        text = err.read_text("utf-8", "replace")
        self.counts["unexpected"] += "unexpected" in text
        return code, text, seconds

    def inject(self, job: str, folder: Path) -> int:
        """One run in which one call of the kernel fails, below Python."""
        call, error = self.random.choice(INJECTED), self.random.choice(("EIO", "ENOSPC"))
        when = 1 + self.random.randrange(12)
        command = ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}"]
        command += ["-e", f"inject={call}:error={error}:when={when}"]
        command += [sys.executable, "-m", "graftwerk", *JOBS[job]]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=LONGEST * 3
        )
        self.counts["injected errors"] += 1
        self.counts["injected errors that ended the command"] += done.returncode != 0
        self.counts["unexpected"] += "unexpected" in done.stderr
        return done.returncode

    def disturb(self, job: str, expected: dict[str, str], seconds: float, number: int) -> None:
        """Disturb a job (number 0: by an injected error), run it again, and compare."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_inputs(folder)
            if number:
                after = self.random.uniform(0, seconds * 1.05)
                code, _, _ = self.run(job, folder, after=after, number=number)
                kind = signal.Signals(number).name
                self.counts[kind] += 1
                self.counts[f"{kind} at work"] += code != 0
            else:
                code = self.inject(job, folder)
            if code == 0 and job in ONCE:
                return
            code, text, _ = self.run(job, folder)
            if code != 0:
                self.counts["second runs refused"] += 1
                print(f"{job}: refused again: {text}", flush=True)
            elif result_of(folder) != expected:
                self.counts["results lost or changed"] += 1
                print(f"{job}: another result", flush=True)
            left = [p.name for p in folder.rglob("*") if p.name.endswith((".tmp", ".old"))]
            self.counts["temporary files left"] += len(left)

    def reference(self, job: str) -> tuple[dict[str, str], float]:
        """Result and duration of a run that nothing disturbs."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_inputs(folder)
            code, text, seconds = self.run(job, folder)
            assert code == 0, (job, text)
            expected = result_of(folder)
            assert expected, job
            return expected, seconds

    def close(self) -> None:
        """End the process."""
        self._forking.close()


BAD = (
    "unexpected",
    "longer than the deadline",
    "second runs refused",
    "results lost or changed",
    "temporary files left",
)


def soak(rounds: int, seed: int = 0) -> Counter[str]:
    """Every job by every signal, and by an injected error where strace is there, so many times."""
    work = Soak(seed)
    numbers = [*SIGNALS, *([0] if shutil.which("strace") else [])]
    try:
        for job in JOBS:
            expected, seconds = work.reference(job)
            for _ in range(rounds):
                for number in numbers:
                    work.disturb(job, expected, seconds, number)
    finally:
        work.close()
    return work.counts


def main(words: list[str]) -> int:
    """Print the counts; 1 where something was lost."""
    counts = soak(int(words[0]) if words else 1)
    for name in sorted({*counts, *BAD}):
        print(f"{counts[name]:6} {name}")
    return int(any(counts[name] for name in BAD))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
