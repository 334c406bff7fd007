"""Hand-made faults in `src`, each of which a test of the default tier must notice.

    python -m tests.mutants            all of them
    python -m tests.mutants fsync      those whose name holds a word

Each is put into a copy of `src`; what ends is the name, "killed" or "SURVIVED", and the count.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_LONGEST = 150  # seconds of the tests of one fault; they take some 30
ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "graftwerk"


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    old: str
    new: str
    tests: str


DURABILITY = "tests/faults/test_durability.py"
SERVER = "tests/unit/models/language/test_server.py"
MODELS = "tests/hostile/test_models.py"
TABLES = "tests/hostile/test_tables.py"
ENVIRONMENT = "tests/hostile/test_surroundings.py"
DEADLINE = "models/language/deadline.py"

MUTANTS = (
    Mutant("no fsync of a file", "files.py", "            os.fsync(file.fileno())\n        temporary.replace", "            pass\n        temporary.replace", DURABILITY),
    Mutant("no fsync of its folder", "files.py", "        sync_folder(path.parent)\n", "", DURABILITY),
    Mutant("no fsync in a folder", "folders.py", "                        os.fsync(file.fileno())", "                        pass", DURABILITY),
    Mutant("no fsync of inner folders", "folders.py", "                files.sync_folder(folder)", "                pass", DURABILITY),
    Mutant("no fsync after the exchange", "folders.py", "            raise\n    files.sync_folder(target.parent)", "            raise", DURABILITY),
    Mutant("the former folder stays", "folders.py", "            remove(staging)\n        remove_empty", "            pass\n        remove_empty", DURABILITY),
    Mutant("the former folder is not put back", "folders.py", "            old.rename(target)\n            raise", "            raise", DURABILITY),
    Mutant("no read-back of a checkpoint", "training/checkpoint.py", ') != digest:\n            raise Damaged(\n                f"{target', ') != digest and False:\n            raise Damaged(\n                f"{target', DURABILITY),
    Mutant("older checkpoints go first", "training/checkpoint.py", "    claim(folder)\n", "    claim(folder)\n    _remove_unneeded(folder)\n", DURABILITY),
    Mutant("SQLite does not wait", "search/database.py", "synchronous=FULL", "synchronous=OFF", DURABILITY),
    Mutant("SIGTERM leaves as Ctrl-C", "cli/stopping.py", "128 + (self._received or signal.SIGINT)", "128 + signal.SIGINT", "tests/unit/cli"),
    Mutant("SIGTERM is not handled", "cli/stopping.py", ', signal.SIGTERM: "SIGTERM"', "", "tests/unit/cli"),
    Mutant("gradients grow with the parts", "training/loop.py", "(loss / plan.accumulate).backward", "loss.backward", "tests/unit/training/test_loop.py"),
    Mutant("headings merge", "search/chunking.py", "(first.heading, first.page) == (second.heading, second.page)", "first.page == second.page", "tests/unit/search/test_passages.py"),
    Mutant("ties go to the larger key", "search/query.py", "return sorted(scores.items(), key=lambda item: (-item[1], item[0]))", "return sorted(scores.items(), key=lambda item: (-item[1], -item[0]))", "tests/unit/search/test_fuse.py"),
    Mutant("an absent class is likely", "finetune/linear.py", "np.full(count, -20.0)", "np.full(count, 0.0)", "tests/unit/finetune/test_linear.py"),
    Mutant("FIFOs in a model", "models/checkpoint.py", "                files.require_regular(path)\n                if", "                if", MODELS),
    Mutant("FIFOs as weights", "models/checkpoint.py", "    files.require_regular(path)\n    try:", "    try:", MODELS),
    Mutant("FIFOs are hashed", "files.py", "    require_regular(path)\n    with", "    with", MODELS),
    Mutant("templates unfold", "models/zero_shot.py", "if many or", "if False and many or", MODELS),
    Mutant("weights of ours unchecked", "models/checkpoint.py", "    require_published(path)\n", "", MODELS),
    Mutant("a hash for ever", "models/integrity.py", "state.st_size, times)", "0, 0)", MODELS),
    Mutant("NaN in a configuration", "models/checkpoint.py", "math.isfinite(value) and low", "not (value < low) and low" , MODELS),
    Mutant("bounds of a configuration", "models/checkpoint.py", "low <= value <= high", "value <= high", MODELS),
    Mutant("seal unchecked", "files.py", 'content.get(_SEAL, "") != _seal_of(content)', "False", "tests/unit/adapters/test_bundle.py"),
    Mutant("unlisted weights", "adapters/manifest.py", "    _require_listed(folder, hashes)\n", "", "tests/unit/adapters/test_bundle.py"),
    Mutant("black images", "diffusion/sampling.py", "        _require_images(model, decoded)\n", "", "tests/unit/diffusion/test_drawing.py"),
    Mutant("Parquet unfolds", "data/tables/columnar.py", "            total += _unfolded(values)\n", "", TABLES),
    Mutant("Parquet counts what is packed", "data/tables/columnar.py", "    if not pyarrow.types.is_dictionary(values.type):", "    if True:", TABLES),
    Mutant("texts of a zip", "data/load.py", "        unpacked += len(item) if isinstance(item, str) else 0\n", "", TABLES),
    Mutant("no deadline", DEADLINE, "        if left <= 0:", "        if False:", SERVER),
    Mutant("no deadline for headers", "models/language/openai_server.py", "        transport.deadline = begin + self._timeout\n", "", SERVER),
    Mutant("no deadline for the reply", "models/language/openai_server.py", "transport.deadline = begin + self._longest", 'transport.deadline = float("inf")', SERVER),
    Mutant("a tool's call is an answer", "models/language/openai_server.py", '{"tool_calls": [_, *_]}', '{"tool_call": [_, *_]}', SERVER),
    Mutant("silence is an abstention", "rag/answer.py", "if not text and not self.writer.extractive:", "if False:", "tests/unit/commands/test_ask.py"),
    Mutant("any number of threads", "settings.py", " and 1 <= int(value) <= _MOST_THREADS", "", ENVIRONMENT),
    Mutant("full stdout unseen", "cli/streams.py", "        sys.stdout.flush()\n", "        pass\n", ENVIRONMENT),
    Mutant("closed stdout", "cli/streams.py", "        if stream is None:", "        if False:", ENVIRONMENT),
    Mutant("encoding loses the result", "cli/streams.py", '            stream.reconfigure(errors="backslashreplace")', "            pass", ENVIRONMENT),
    Mutant("NUL in a path", "requests/base.py", 'if "\\0" in text:', "if False:", "tests/hostile/test_fuzz.py"),
    Mutant("too many digits", "files.py", "    except ValueError as error:  # a guard", "    except KeyError as error:  # a guard", "tests/unit/test_json_readers.py"),
    Mutant("bands of Canny", "conditions/kinds/canny.py", "beside = settings.kernel // 2 + 2", "beside = settings.kernel // 2", "tests/unit/conditions/test_canny.py"),
)  # fmt: skip


def survives(mutant: Mutant) -> bool:
    """Whether its tests pass although it is there."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "src"
        shutil.copytree(
            SOURCE.parent, copy, ignore=shutil.ignore_patterns("__pycache__", "weights")
        )
        (copy / "graftwerk" / "weights").symlink_to(SOURCE / "weights")
        path = copy / "graftwerk" / mutant.file
        text = path.read_text("utf-8")
        path.write_text(text.replace(mutant.old, mutant.new, 1), "utf-8")
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-n", "0", "-x", *mutant.tests.split()]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, timeout=_LONGEST
            )
        except subprocess.TimeoutExpired:  # it hangs, which is noticed too
            return False
        return done.returncode == 0


def main(words: list[str]) -> int:
    """Run those whose name holds one of the words; 1 where one survives."""
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    for tests in dict.fromkeys(mutant.tests for mutant in chosen):
        if not survives(Mutant("none", "files.py", "", "", tests)):
            print(f"{tests} fails without any fault")
            return 1
    left = 0
    for mutant in chosen:
        alive = survives(mutant)
        left += alive
        print(f"{'SURVIVED' if alive else 'killed':9} {mutant.name} ({mutant.file})", flush=True)
    print(f"{len(chosen) - left} of {len(chosen)} killed")
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
