"""Commands stopped and failed at moments of chance, again and again; prints counts.

    python -m tests.soak                    the counts that `make test-all` reaches, in nine rounds
    python -m tests.soak 1                  a round: every job disturbed nine times, and what attacks
    python -m tests.soak 9 --state FOLDER   goes on where an interrupted run was stopped
    python -m tests.soak 9 --jobs generate  some jobs only

Each job runs once undisturbed, which gives its duration, its result and the changes that it makes in
its folder. Then it is disturbed after a random number of changes or a random time (SIGKILL, SIGTERM,
SIGINT), or at a random call of the kernel (EIO, ENOSPC), and run again. The second run must succeed
and give the same files. Beside them: the hostile configurations, servers and requests of `tests.reach`.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import reach
from tests.commands import Forking
from tests.injecting import Fault, Injecting, can_trace
from tests.state import State

from graftwerk import folders
from graftwerk.search.database import DATABASE

LONGEST = 120  # seconds of one run; a run that is longer hangs
INDEX = ["--index", "out"]
ADD = ["index", "add", "docs", *INDEX]
JOBS: dict[str, list[str]] = {
    "index add": ADD,
    "index add images": ["index", "add", "images", *INDEX, "--encoder", "builtin/blocks-clip"],
    "index rebuild": ["index", "rebuild", *INDEX],
    "calibrate": ["calibrate", "questions.jsonl", *INDEX],
    "embed": ["embed", "texts.csv", "--content", "text", "--out", "out/vectors.npy"],
    "condition": ["condition", "canny", "images/0.png", "--out", "out/edges.png"],
    "generate": ["generate", "a red cube", "--count", "3", "--steps", "2", "--out", "out"],
    "blocks render": ["blocks", "render", "--count", "12", "--size", "32", "--out", "out"],
    "fit linear": ["fit", "texts.csv", "--target", "label", "--how", "linear", "--out", "out"],
    "fit lora": [
        *("fit", "texts.csv", "--target", "label", "--how", "lora", "--out", "out"),
        *("--rank", "2", "--epochs", "1", "--batch", "8"),
    ],
    "recipe run": ["recipe", "run", "judge", "--tiny", "--steps", "8", "--out", "out"],
    "control train": [
        *("control", "train", "images", "--condition", "canny", "--model", "pipeline"),
        *("--steps", "4", "--batch", "2", "--held-out", "2", "--measurements", "2", "--out", "out"),
    ],
}
BEFORE = {"index rebuild": ADD, "calibrate": ADD}  # what has run when the job begins
SIGNALS = {signal.SIGKILL: 3, signal.SIGTERM: 1, signal.SIGINT: 1}  # and how often a round
INJECTED = 4  # errors a round
ERRORS = ("EIO", "ENOSPC")
STAY = ("docs", "images", "texts.csv", "questions.jsonl", "pipeline")  # what a job reads
ATTACKS = {"configuration": 34, "server": 12, "request": 560}  # a round
ONCE = {"blocks render"}  # what is finished is not made again, but refused
# What a result says of when and how fast it was made, or of the folder that it lies in.
CHANGING = {"graft.json", "log.jsonl", "loss.png", "README.md", "manifest.json"}


def make_inputs(folder: Path) -> None:
    """Documents, questions, labeled texts, captioned images and a tiny pipeline."""
    from PIL import Image
    from tests.pipelines import write_text_pipeline

    (folder / "docs").mkdir()
    (folder / "images").mkdir()
    rows, questions, captions = ["text,label"], [], []
    for number in range(24):
        if number < 12:  # some for the process that parses, some for that of the command
            kind, text = ("md", "html")[number % 4 == 0], f"<p>Rule {number} says no. " * 5
            (folder / "docs" / f"{number:02}.{kind}").write_text(text)
        words = ("good fine bright", "bad poor dull")[number % 2]
        rows.append(f"{words} number {number},{'ab'[number % 2]}")
        known = number % 2 == 0
        text = f"what says rule {number}?" if known else f"who won the cup of {number}?"
        questions.append(json.dumps({"question": text, "answerable": known}))
    for number in range(8):
        image = Image.new("RGB", (32, 32), "navy")
        image.paste((255, 30 * number, 0), (4 + number, 8, 20 + number, 24))
        image.save(folder / "images" / f"{number}.png")
        captions.append(json.dumps({"file_name": f"{number}.png", "caption": "a red cube"}))
    (folder / "texts.csv").write_text("\n".join(rows) + "\n")
    (folder / "questions.jsonl").write_text("\n".join(questions))
    (folder / "images" / "metadata.jsonl").write_text("\n".join(captions))
    write_text_pipeline(folder / "pipeline")


def result_of(folder: Path) -> dict[str, str]:
    """The files of a result with their hashes; of an index the texts that it holds."""
    out = folder / "out"
    if (out / DATABASE).exists():
        with contextlib.closing(sqlite3.connect(out / DATABASE)) as connection:
            rows = connection.execute("SELECT text FROM passages ORDER BY text").fetchall()
        found = {"passages": hashlib.sha256(repr(rows).encode()).hexdigest()}
        calibration = out / "calibration.json"
        if calibration.exists():
            found["calibration"] = calibration.read_text("utf-8")
        return found
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in CHANGING and not path.name.startswith(".")
        if "checkpoints" not in path.parts
    }


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _seen(folder: Path) -> set[tuple[str, int, int]]:
    found = set()
    for root in folder.glob("*out*"):
        # os.walk passes over folders that the command removes meanwhile; rglob does not
        for parent, _, names in os.walk(root):
            for path in (Path(parent), *(Path(parent) / name for name in names)):
                with contextlib.suppress(OSError):
                    state = path.lstat()
                    found.add((str(path), state.st_size, state.st_mtime_ns))
    return found


@dataclass
class Stop:
    """Waits until a command has changed its folder so often, and then a while; counts changes."""

    number: int
    most: float
    seconds: float = 0.0
    changes: int = 0

    def wait(self, folder: Path, alive: Callable[[], bool]) -> None:
        before = _seen(folder)
        while self.changes < self.most and alive():
            time.sleep(0.001)
            if (now := _seen(folder)) != before:
                before = now
                self.changes += 1
        time.sleep(self.seconds)


def hidden(folder: Path) -> set[str]:
    """Names of what may be temporary."""
    return {
        path.name
        for path in folder.rglob("*")
        if path.name.startswith(".") or path.suffix in {".tmp", ".old"}
    }


def age(folder: Path) -> None:
    """Let the second run come a while later: a folder without its marker may be one just begun, so
    only an old one is known to be left behind."""
    then = time.time() - 10 * folders._UNMARKED_SECONDS
    for path in folder.glob(".*.tmp"):
        os.utime(path, (then, then))


@dataclass(frozen=True)
class Reference:
    """What a job gives undisturbed, how long it takes, how often it changes its folder and makes each
    call."""

    result: dict[str, str]
    hidden: set[str]
    seconds: float
    changes: int
    calls: Counter[str]


class Soak:
    """Runs jobs in forks of one process that has imported everything.

    Attributes:
        counts: of what was tried and what came of it.
        injecting: runs commands in which a call of the kernel fails.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.random = random.Random(0)
        self._home = tempfile.TemporaryDirectory()
        home = self._home.name
        environment = {"HOME": home, "GRAFTWERK_CACHE": f"{home}/cache", "HF_HOME": f"{home}/hub"}
        self._forking = Forking("tests.commands", **environment)
        self._environment = os.environ | environment
        self.injecting = Injecting(self._forking, self._environment)
        self._inputs = Path(home, "inputs")
        self._inputs.mkdir()
        make_inputs(self._inputs)

    @contextlib.contextmanager
    def folder(self, job: str) -> Iterator[Path]:
        """A folder with the inputs of a job, and what has run before."""
        with tempfile.TemporaryDirectory() as name:
            folder = shutil.copytree(self._inputs, Path(name, "work"))
            if job in BEFORE:
                done = Path(self._home.name, "before")
                if not done.exists():
                    assert self.run(BEFORE[job], folder)[0] == 0
                    shutil.copytree(folder / "out", done)
                else:
                    shutil.copytree(done, folder / "out")
            yield folder
            outside = sorted(path.name for path in Path(name).iterdir() if path != folder)
            strange = {path.name for path in folder.iterdir()} - {"out", "stderr", *STAY}
            strange -= {name for name in strange if name.startswith(".out.")}  # looked at elsewhere
            self.counts["files outside"] += len(outside) + len(strange)

    def run(
        self, arguments: list[str], folder: Path, stop: Stop | None = None
    ) -> tuple[int, str, float]:
        """One run, stopped or not: its code, what it wrote to standard error, and its seconds."""
        err = folder / "stderr"
        err.write_bytes(b"")
        began = time.monotonic()
        pid = self._forking.start(
            arguments=arguments,
            cwd=str(folder),
            environment=self._environment,
            files=[os.devnull, os.devnull, str(err)],
        )
        if stop:
            stop.wait(folder, lambda: _alive(pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, stop.number)
        code = os.waitstatus_to_exitcode(self._forking.finish())
        seconds = time.monotonic() - began
        self.counts["longer than the deadline"] += seconds > LONGEST
        text = err.read_text("utf-8", "replace")
        self.counts["unexpected"] += "graft: unexpected" in text
        return code, text, seconds

    def inject(self, job: str, folder: Path, calls: Counter[str]) -> int:
        """One run in which one call of the kernel fails, below Python."""
        call = self.random.choice(sorted(calls))
        fault = Fault(call, self.random.randint(1, calls[call]), self.random.choice(ERRORS))
        code, text, packets = self.injecting.run(JOBS[job], folder, fault)
        self.counts["write errors"] += 1
        self.counts["write errors that ended the command"] += code != 0
        self.counts["packets"] += packets
        if "graft: unexpected" in text or code not in (0, 1, 2) or (code and not text.strip()):
            self.counts["unexpected"] += 1
            print(f"{job}, {fault}: exit {code}: {text}", flush=True)
        return code

    def disturb(self, job: str, reference: Reference, number: int) -> None:
        """Disturb a job (number 0: by an injected error), run it again, and compare."""
        with self.folder(job) as folder:
            if number:
                code, _, _ = self.run(JOBS[job], folder, self._stop(reference, number))
                kind = signal.Signals(number).name
                self.counts[kind] += 1
                self.counts[f"{kind} at work"] += code != 0
            else:
                code = self.inject(job, folder, reference.calls)
            if job in ONCE and (code == 0 or result_of(folder) == reference.result):
                return  # whole, though the last fsync may have failed
            age(folder)
            code, text, _ = self.run(JOBS[job], folder)
            if code != 0:
                self.counts["second runs refused"] += 1
                print(f"{job}: refused again: {text}", flush=True)
            elif (found := result_of(folder)) != reference.result:
                self.counts["results lost or changed"] += 1
                differ = dict(found.items() ^ reference.result.items())
                print(f"{job}: another result: {sorted(differ)}", flush=True)
            left = hidden(folder) - reference.hidden
            self.counts["temporary files left"] += len(left)
            if left:
                print(f"{job}: left {sorted(left)}", flush=True)

    def _stop(self, reference: Reference, number: int) -> Stop:
        """Half of them at any time, half shortly after any change, so that each step is met."""
        if self.random.random() < 0.5:
            return Stop(number, 0, self.random.uniform(0, reference.seconds))
        after = self.random.uniform(0, reference.seconds / (1 + reference.changes))
        return Stop(number, self.random.randint(0, max(0, reference.changes - 1)), after)

    def reference(self, job: str) -> Reference:
        """Result, duration and calls of runs that nothing disturbs."""
        with self.folder(job) as folder:
            code, text, _ = self.run(JOBS[job], folder)  # the first fills caches
            assert code == 0, (job, text)
        with self.folder(job) as folder:
            watched = Stop(0, math.inf)
            code, text, seconds = self.run(JOBS[job], folder, watched)
            assert code == 0, (job, text)
            result = result_of(folder)
            names = hidden(folder)
            assert result, job
        if not can_trace():
            return Reference(result, names, seconds, watched.changes, Counter())
        with self.folder(job) as folder:
            calls = self.injecting.calls(JOBS[job], folder)
        return Reference(result, names, seconds, watched.changes, calls)

    @property
    def pipeline(self) -> Path:
        """The folder of the tiny pipeline."""
        return self._inputs / "pipeline"

    def close(self) -> None:
        """End the process; whatever its home holds beside the cache was put there unasked."""
        self._forking.close()
        ours = {"cache", "inputs", "before"}
        home = Path(self._home.name)
        self.counts.clear()
        self.counts["files outside"] = sum(path.name not in ours for path in home.iterdir())
        self._home.cleanup()


BAD = (
    "unexpected",
    "longer than the deadline",
    "second runs refused",
    "results lost or changed",
    "temporary files left",
    "files outside",
    "packets",
)


def disturb_all(work: Soak, rounds: int, jobs: Iterable[str], done: State) -> None:
    """Every job by every signal, and by injected errors where strace may trace."""
    kinds = SIGNALS | ({0: INJECTED} if can_trace() else {})
    for job in jobs:
        keys = {f"{job} {n} {i}": n for n, times in kinds.items() for i in range(times * rounds)}
        left = {key: number for key, number in keys.items() if key not in done}
        if not left:
            continue
        work.counts.clear()
        reference = work.reference(job)
        for key, number in left.items():
            work.random.seed(key)
            work.counts.clear()
            work.disturb(job, reference, number)
            _note(done, key, work.counts)
        say = f"{reference.seconds:.1f} s, {reference.changes} changes, {reference.calls.total()} calls"
        print(f"{job}: {say}, {len(left)} times", flush=True)


def attack_all(work: Soak, rounds: int, done: State) -> None:
    """Hostile configurations, servers and requests, each of its own seed; requests by the score."""
    with work.folder("embed") as folder:
        assert work.run(JOBS["embed"], folder)[0] == 0  # fills caches
    for kind, times in ATTACKS.items():
        each = 20 if kind == "request" else 1
        for key in (f"{kind} {i}" for i in range(rounds * times // each)):
            if key in done:
                continue
            work.counts.clear()
            generator = random.Random(key)
            for _ in range(each):
                if kind == "configuration":
                    counts = reach.configuration(generator, work.run, work.pipeline)
                else:
                    counts = (reach.server if kind == "server" else reach.request)(generator)
                work.counts.update(counts)
            _note(done, key, work.counts)


def _note(done: State, key: str, counts: Counter[str]) -> None:
    bad = {name: counts[name] for name in BAD if counts[name]}
    if bad:
        print(f"{key}: {bad}", flush=True)  # not noted in the file, so that it is tried again
        dict.__setitem__(done, key, dict(counts))
    else:
        done[key] = {name: count for name, count in counts.items() if count}


def total(done: State) -> Counter[str]:
    """The sum of the counts, those that have to be 0 included."""
    counts = Counter(dict.fromkeys(BAD, 0))
    for one in done.values():
        counts.update(one)
    return counts


@contextlib.contextmanager
def working() -> Iterator[Soak]:
    """A process that forks; what lies in its home afterwards counts."""
    work = Soak()
    try:
        yield work
    finally:
        work.close()


def main(words: list[str]) -> int:
    """Print the counts; 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("rounds", type=int, nargs="?", default=9)
    parser.add_argument("--jobs", nargs="+", choices=[*JOBS, "attacks"], default=[*JOBS, "attacks"])
    parser.add_argument("--state", type=Path)
    options = parser.parse_args(words)
    done = State(options.state and options.state / "soak.jsonl")
    with working() as work:
        if "attacks" in options.jobs:
            attack_all(work, options.rounds, done)
        disturb_all(work, options.rounds, [job for job in JOBS if job in options.jobs], done)
    counts = total(done)
    counts["files outside"] += work.counts["files outside"]
    for name, count in sorted(counts.items()):
        print(f"{count:6,} {name}")
    return int(any(counts[name] for name in BAD))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
