"""Commands stopped and failed at moments of chance, again and again; prints counts.

    python -m tests.soak            every job nine times disturbed, some minutes
    python -m tests.soak 9          the counts that the project is to reach, two hours on one core

Each job runs once undisturbed, which gives its duration and its result. Then it is disturbed at a
random moment (SIGKILL, SIGTERM, SIGINT) or at a random call of the kernel (EIO, ENOSPC), and run
again. The second run must succeed and give the same files. Beside them: hostile configurations,
hostile servers and fuzzed requests, of `tests.reach`.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import reach
from tests.commands import Forking
from tests.injecting import Fault, Injecting, can_trace

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
    "generate": ["generate", "a red cube", "--count", "4", "--steps", "4", "--out", "out"],
    "blocks render": ["blocks", "render", "--count", "40", "--size", "32", "--out", "out"],
    "fit linear": ["fit", "texts.csv", "--target", "label", "--how", "linear", "--out", "out"],
    "fit lora": [
        *("fit", "texts.csv", "--target", "label", "--how", "lora", "--out", "out"),
        *("--rank", "2", "--epochs", "2", "--batch", "8"),
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
ONCE = {"blocks render"}  # what is finished is not made again, but refused
# What a result says of when and how fast it was made, or of the folder that it lies in.
CHANGING = {"graft.json", "log.jsonl", "loss.png", "README.md", "manifest.json"}


def make_inputs(folder: Path) -> None:
    """Documents, questions, labelled texts, captioned images and a tiny pipeline."""
    from PIL import Image
    from tests.pipelines import write_text_pipeline

    (folder / "docs").mkdir()
    (folder / "images").mkdir()
    rows, questions, captions = ["text,label"], [], []
    for number in range(24):
        (folder / "docs" / f"{number:02}.html").write_text(f"<p>Rule {number} says no. " * 40)
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


@dataclass(frozen=True)
class Reference:
    """What a job gives undisturbed, how long it takes, and how often it makes each call."""

    result: dict[str, str]
    seconds: float
    calls: Counter[str]


class Soak:
    """Runs jobs in forks of one process that has imported everything.

    Attributes:
        counts: of what was tried and what came of it.
        injecting: runs commands in which a call of the kernel fails.
    """

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.random = random.Random(seed)
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
        self, arguments: list[str], folder: Path, *, after: float = 0.0, number: int = 0
    ) -> tuple[int, str, float]:
        """One run, stopped by a signal `number` after so many seconds: code, stderr, seconds."""
        err = folder / "stderr"
        err.write_bytes(b"")
        began = time.monotonic()
        pid = self._forking.start(
            arguments=arguments,
            cwd=str(folder),
            environment=self._environment,
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

    def inject(self, job: str, folder: Path, calls: Counter[str]) -> int:
        """One run in which one call of the kernel fails, below Python."""
        call = self.random.choice(sorted(calls))
        fault = Fault(call, self.random.randint(1, calls[call]), self.random.choice(ERRORS))
        code, text, packets = self.injecting.run(JOBS[job], folder, fault)
        self.counts["write errors"] += 1
        self.counts["write errors that ended the command"] += code != 0
        self.counts["packets"] += packets
        if "unexpected" in text or code not in (0, 1, 2) or (code and not text.strip()):
            self.counts["unexpected"] += 1
            print(f"{job}, {fault}: exit {code}: {text}", flush=True)
        return code

    def disturb(self, job: str, reference: Reference, number: int) -> None:
        """Disturb a job (number 0: by an injected error), run it again, and compare."""
        with self.folder(job) as folder:
            if number:
                after = self.random.uniform(0, reference.seconds * 1.05)
                code, _, _ = self.run(JOBS[job], folder, after=after, number=number)
                kind = signal.Signals(number).name
                self.counts[kind] += 1
                self.counts[f"{kind} at work"] += code != 0
            else:
                code = self.inject(job, folder, reference.calls)
            if job in ONCE and (code == 0 or result_of(folder) == reference.result):
                return  # whole, though the last fsync may have failed
            code, text, _ = self.run(JOBS[job], folder)
            if code != 0:
                self.counts["second runs refused"] += 1
                print(f"{job}: refused again: {text}", flush=True)
            elif (found := result_of(folder)) != reference.result:
                self.counts["results lost or changed"] += 1
                differ = dict(found.items() ^ reference.result.items())
                print(f"{job}: another result: {sorted(differ)}", flush=True)
            left = [p.name for p in folder.rglob("*") if p.name.endswith((".tmp", ".old"))]
            self.counts["temporary files left"] += len(left)

    def reference(self, job: str) -> Reference:
        """Result, duration and calls of runs that nothing disturbs."""
        with self.folder(job) as folder:
            code, text, _ = self.run(JOBS[job], folder)  # the first fills caches
            assert code == 0, (job, text)
        with self.folder(job) as folder:
            code, text, seconds = self.run(JOBS[job], folder)
            assert code == 0, (job, text)
            result = result_of(folder)
            assert result, job
        if not can_trace():
            return Reference(result, seconds, Counter())
        with self.folder(job) as folder:
            return Reference(result, seconds, self.injecting.calls(JOBS[job], folder))

    @property
    def pipeline(self) -> Path:
        """The folder of the tiny pipeline."""
        return self._inputs / "pipeline"

    def close(self) -> None:
        """End the process; whatever its home holds beside the cache was put there unasked."""
        self._forking.close()
        ours = {"cache", "inputs", "before"}
        home = Path(self._home.name)
        self.counts["files outside"] += sum(path.name not in ours for path in home.iterdir())
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


def soak(
    rounds: int, seed: int = 0, jobs: Iterable[str] = JOBS, attack: bool = True
) -> Counter[str]:
    """Every job by every signal, by injected errors where strace is there, and what attacks."""
    work = Soak(seed)
    numbers = [number for number, times in SIGNALS.items() for _ in range(times)]
    numbers += [0] * INJECTED if can_trace() else []
    try:
        for job in jobs:
            reference = work.reference(job)
            for _ in range(rounds):
                for number in numbers:
                    work.disturb(job, reference, number)
            print(f"{job}: {reference.seconds:.1f} s, {rounds * len(numbers)} times", flush=True)
        attacked = reach.attack(rounds if attack else 0, work.run, work.pipeline, seed)
    finally:
        work.close()
    return work.counts + attacked


def main(words: list[str]) -> int:
    """Print the counts; 1 where something was lost."""
    counts = soak(int(words[0]) if words else 1, jobs=words[1:] or JOBS)
    for name in sorted({*counts, *BAD}):
        print(f"{counts[name]:6} {name}")
    return int(any(counts[name] for name in BAD))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
