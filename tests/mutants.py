"""Hand-made faults in `src`, each of which a test of the default tier must notice.

    python -m tests.mutants                    all of them
    python -m tests.mutants fsync              those whose name holds a word
    python -m tests.mutants --state FOLDER     goes on where an interrupted run was stopped

Each is put into a copy of `src`, which a fork of one process that has imported the libraries tests.
Prints the outcome, the name, the test that failed, and the count. An outcome in FOLDER counts as long
as the fault, its file and its tests are the same.
"""

import argparse
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.state import State

_LONGEST = 900  # seconds of the tests of one fault; alone they take some 30
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
LABELS, LABEL_TESTS = "data/labels.py", "tests/unit/data/test_labels.py"
TABLE_TESTS = "tests/unit/data/test_tables.py tests/unit/data/test_reading_tables.py"
IMAGES = "data/images.py"
IMAGE_TESTS = "tests/unit/data/test_images.py tests/unit/data/test_image_modes.py"
ESTIMATORS = "tests/unit/library/test_estimators.py"
FOLDERS = "tests/unit/test_folders.py tests/unit/commands/test_ownership.py"
DEADLINE = "models/language/openai_server.py"

MUTANTS = (
    Mutant("no fsync of a file", "files.py", "                    os.fsync(file.fileno())\n                temporary", "                    pass\n                temporary", DURABILITY),
    Mutant("no fsync of its folder", "files.py", "                sync_folder(path.parent)\n", "", DURABILITY),
    Mutant("leftovers of the killed stay", "files.py", "                if alone:\n                    path.unlink()", "                pass", "tests/unit/test_files.py"),
    Mutant("files of the living go", "files.py", "                if alone:\n                    path.unlink()", "                path.unlink()", "tests/unit/test_files.py"),
    Mutant("a name alone is ours", "files.py", "not found or path.name != _temporary_name(*found.groups()) or", "not found or", "tests/unit/test_files.py"),
    Mutant("no fsync in a folder", "folders.py", "                        os.fsync(file.fileno())", "                        pass", DURABILITY),
    Mutant("no fsync of inner folders", "folders.py", "                files.sync_folder(folder)", "                pass", DURABILITY),
    Mutant("no fsync after the exchange", "folders.py", "            raise\n    files.sync_folder(target.parent)", "            raise", DURABILITY),
    Mutant("the former folder stays", "folders.py", "            remove(staging)\n        _remove_unmarked", "            pass\n        _remove_unmarked", DURABILITY),
    Mutant("the former folder is not put back", "folders.py", "            old.rename(target)\n            raise", "            raise", DURABILITY),
    Mutant("no read-back of a checkpoint", "training/state.py", ') != digest:\n            raise Damaged(\n                f"{target', ') != digest and False:\n            raise Damaged(\n                f"{target', DURABILITY),
    Mutant("older checkpoints go first", "training/state.py", "    claim(folder)\n", "    claim(folder)\n    _remove_unneeded(folder)\n", DURABILITY),
    Mutant("SQLite does not wait", "search/database.py", "synchronous=FULL", "synchronous=OFF", DURABILITY),
    Mutant("SIGTERM leaves as Ctrl-C", "cli/progress.py", "128 + (self._received or signal.SIGINT)", "128 + signal.SIGINT", "tests/unit/cli"),
    Mutant("SIGTERM is not handled", "cli/progress.py", ', signal.SIGTERM: "SIGTERM"', "", "tests/unit/cli"),
    Mutant("gradients grow with the parts", "training/loop.py", "(loss / plan.accumulate).backward", "loss.backward", "tests/unit/training/test_loop.py"),
    Mutant("headings merge", "search/chunking.py", "(first.heading, first.page) == (second.heading, second.page)", "first.page == second.page", "tests/unit/search/test_passages.py"),
    Mutant("ties go to the larger key", "search/query.py", "return sorted(scored, key=lambda item: (-item[1], item[0]))", "return sorted(scored, key=lambda item: (-item[1], -item[0]))", "tests/unit/search/test_fuse.py"),
    Mutant("the reader's word counts against", "search/query.py", "score=hit.score + READER_WEIGHT * logit", "score=hit.score - READER_WEIGHT * logit", "tests/unit/search/test_engine.py"),
    Mutant("what was not read goes first", "search/query.py", "score=hit.score - READER_WEIGHT * MAX_LOGIT", "score=hit.score + READER_WEIGHT * MAX_LOGIT", "tests/unit/search/test_engine.py"),
    Mutant("few hits are read", "search/query.py", "count = max(k, RERANKED) if rerank else k", "count = k", "tests/unit/search/test_engine.py"),
    Mutant("decimal points do not count", "search/words.py", "\\u2014[-](?!\\d)", "\\u2014[-]", "tests/unit/search/test_copies.py"),
    Mutant("the current folder is replaced", "folders.py", 'current = folder.is_dir() and folder.samefile(".")', "current = False", FOLDERS),
    Mutant("fences are read", "models/language/markup.py", "        text = _FENCE.sub(lambda line: _blank(line[0]), text)\n", "", "tests/unit/models/language/test_markup.py"),
    Mutant("questions without answers are answerable", "commands/evaluate.py", "answerable = [question for question in questions if question.answers]", "answerable = questions", "tests/unit/commands/test_eval_answers.py"),
    Mutant("an absent class is likely", "finetune/linear.py", "np.full(count, -20.0)", "np.full(count, 0.0)", "tests/unit/finetune/test_linear.py"),
    Mutant("FIFOs in a model", "models/checkpoint.py", "                files.require_regular(path)\n                if", "                if", MODELS),
    Mutant("FIFOs as weights", "models/checkpoint.py", "    files.require_regular(path)\n    try:", "    try:", MODELS),
    Mutant("FIFOs are hashed", "files.py", "    require_regular(path)\n    with", "    with", MODELS),
    Mutant("templates unfold", "models/zero_shot.py", "if many or", "if False and many or", MODELS),
    Mutant("weights of ours unchecked", "models/checkpoint.py", "    require_published(path)\n", "", MODELS),
    Mutant("vocabularies of ours unchecked", "models/hub.py", "    require_published_folder(folder)\n", "", MODELS),
    Mutant("sizes jointly impossible", "models/transformers.py", "    if needed > _MOST", "    if False and needed > _MOST", MODELS),
    Mutant("texts under another hash", "search/verify.py", "guessed or texts == sorted(", "True or texts == sorted(", "tests/unit/commands/test_index_verify.py"),
    Mutant("directions of another band", "conditions/kinds/canny.py", "[edges[rows]]", "[edges[: rows.stop - rows.start]]", "tests/unit/conditions/test_canny.py"),
    Mutant("a hash for ever", "models/integrity.py", "state.st_size, times)", "0, 0)", MODELS),
    Mutant("NaN in a configuration", "models/checkpoint.py", "math.isfinite(value) and low <= value <= high", "not value < low and not value > high", MODELS),
    Mutant("bounds of a configuration", "models/checkpoint.py", "low <= value <= high", "value <= high", MODELS),
    Mutant("seal unchecked", "files.py", 'content.get(_CHECKSUM, "") != _checksum_of(content)', "False", "tests/unit/adapters/test_bundle.py"),
    Mutant("unlisted weights", "adapters/manifest.py", "    _require_listed(folder, hashes)\n", "", "tests/unit/adapters/test_bundle.py"),
    Mutant("black images", "diffusion/sampling.py", "        _require_images(model, decoded)\n", "", "tests/unit/diffusion/test_drawing.py"),
    Mutant("Parquet unfolds", "data/tables/columnar.py", "            total += _unfolded(values)\n", "", TABLES),
    Mutant("Parquet counts what is packed", "data/tables/columnar.py", "    if not pyarrow.types.is_dictionary(values.type):", "    if True:", TABLES),
    Mutant("texts of a zip", "data/load.py", "        unpacked += len(item) if isinstance(item, str) else 0\n", "", TABLES),
    Mutant("no deadline", DEADLINE, "        if left <= 0:", "        if False:", SERVER),
    Mutant("no deadline for headers", "models/language/openai_server.py", "        transport.deadline = begin + self._timeout\n", "", SERVER),
    Mutant("no deadline for the reply", "models/language/openai_server.py", "transport.deadline = begin + self._longest", 'transport.deadline = float("inf")', SERVER),
    Mutant("a tool's call is an answer", "models/language/openai_server.py", '{"tool_calls": [_, *_]}', '{"tool_call": [_, *_]}', SERVER),
    Mutant("silence is an abstention", "rag/evidence.py", "if not text and not self.writer.extractive:", "if False:", "tests/unit/commands/test_ask.py"),
    Mutant("any number of threads", "settings.py", " and 1 <= int(value) <= _MOST_THREADS", "", ENVIRONMENT),
    Mutant("full stdout unseen", "cli/progress.py", "        sys.stdout.flush()\n", "        pass\n", ENVIRONMENT),
    Mutant("closed stdout", "cli/progress.py", "        if stream is None:", "        if False:", ENVIRONMENT),
    Mutant("encoding loses the result", "cli/progress.py", '            stream.reconfigure(errors="backslashreplace")', "            pass", ENVIRONMENT),
    Mutant("NUL in a path", "requests/base.py", 'if "\\0" in text:', "if False:", "tests/hostile/test_fuzz.py"),
    Mutant("too many digits", "files.py", "    except ValueError as error:  # a guard", "    except KeyError as error:  # a guard", "tests/unit/test_json_readers.py"),
    Mutant("bands of Canny", "conditions/kinds/canny.py", "beside = settings.kernel // 2 + 2", "beside = settings.kernel // 2", "tests/unit/conditions/test_canny.py"),
    Mutant("accents stay apart", LABELS, 'unicodedata.normalize("NFC", text).split()', "text.split()", LABEL_TESTS),
    Mutant("1.0 is not 1", LABELS, "rows = [[whole_number(name) for name in row] for row in rows]", "pass", LABEL_TESTS),
    Mutant("a comma splits first", LABELS, '_SEPARATORS = "|;,"', '_SEPARATORS = ",;|"', LABEL_TESTS),
    Mutant("NA is a class", LABELS, "and value.strip() in _MISSING", "and value in _MISSING", LABEL_TESTS),
    Mutant("spellings do not match", LABELS, "location.get(_key(name, whole), name)", "location.get(name, name)", LABEL_TESTS),
    Mutant("a lone quote swallows rows", "data/tables/delimited.py", "        _require_whole_rows(text, parsed)\n", "", TABLE_TESTS),
    Mutant("a first row of data is lost", "data/tables/header.py", "return -_STRONG if is_localized(name) else _STRONG", "return _STRONG", TABLE_TESTS),
    Mutant("Arrow reads outside", "data/tables/columnar.py", "Path(name).name != name or ", "", TABLE_TESTS),
    Mutant("-1 is a class", "data/tables/columnar.py", "    if value == -1:\n        return None\n", "", TABLE_TESTS),
    Mutant("decimal commas are lost", "data/tables/numbers.py", '("," if commas and separator == ";" else ".")', '"."', TABLE_TESTS),
    Mutant("brackets are no minus", "data/tables/numbers.py", 'bool(found["close"]) != ("-" in _sign(found))', '"-" in _sign(found)', TABLE_TESTS),
    Mutant("images stay sideways", IMAGES, "                ImageOps.exif_transpose(image, in_place=True)\n", "", IMAGE_TESTS),
    Mutant("transparent is black", IMAGES, "_WHITE = (255, 255, 255)", "_WHITE = (0, 0, 0)", IMAGE_TESTS),
    Mutant("the hash of a later file", IMAGES, "_replace(sha256=sha256(content))", "_replace(sha256=sha256(Path(path).read_bytes()))", IMAGE_TESTS),
    Mutant("bombs are decoded", IMAGES, "                require_image_size(name, *image.size)\n                notes", "                notes", IMAGE_TESTS),
    Mutant("deep images are stretched", "data/images.py", "return 0.0, float((1 << used) - 1), note", "return low, high, note", IMAGE_TESTS),
    Mutant("an unknown class is the first", "library/estimators.py", "location.get(row[0], -1)", "location.get(row[0], 0)", ESTIMATORS),
    Mutant("unknown labels are right", "library/estimators.py", ".all(axis=1) & ~unknown", ".all(axis=1)", ESTIMATORS),
    Mutant("others' changes go unseen", "library/index.py", "if self._storage is not None and not self._storage.is_current():", "if False:", "tests/unit/library/test_index.py"),
    Mutant("images come before texts", "library/encoder.py", "np.stack([rows[number] for number in range(len(rows))])", "np.stack(list(rows.values()))", "tests/unit/library/test_encoder.py"),
    Mutant("an adapter stays", "library/pipeline.py", "self.steered.without(self._parts[last])", "self.steered", "tests/unit/library/test_pipeline.py tests/laws/test_pipeline.py"),
    Mutant("a guide acts everywhere", "library/adapters.py", "            *self._interval,\n", "            0.0,\n            math.inf,\n", "tests/unit/library/test_pipeline.py"),
    Mutant("the hash of the first look", "search/ingest.py", "content_hash = document.content_hash", "content_hash = size_and_hash(path)[1]", "tests/unit/commands/test_index_add.py"),
    Mutant("vanished files stay", "search/ingest.py", "path.startswith(inside) and not os.path.lexists(path)", "False", "tests/unit/commands/test_index_add.py"),
    Mutant("vectors that are not finite", "search/ingest.py", "if is_unit(matrix).all():", "if True:", "tests/unit/commands/test_index_add.py"),
    Mutant("half a word is a quote", "rag/citations.py", r'rf"(?<!\w){re.escape(requested)}(?!\w)"', "re.escape(requested)", "tests/unit/rag"),
    Mutant("guidance away from the prompt", "diffusion/guidance.py", "(guidance.weight - 1) * (with_prompt - without)", "(guidance.weight - 1) * (without - with_prompt)", "tests/unit/diffusion/test_compose.py"),
    Mutant("a weight of 1 guides", "diffusion/guidance.py", "prompted = None if guidance.weight == 1 else both", "prompted = both", "tests/unit/diffusion/test_compose.py"),
    Mutant("any folder is removed", "folders.py", "ours = kind_of(folder) is not None and not folder.is_symlink()", "ours = True", FOLDERS),
    Mutant("folders of the living are tidied", "folders.py", "if not alone or path.is_symlink():", "if path.is_symlink():", FOLDERS),
    Mutant("data in a replaced folder", "folders.py", "            if inside:", "            if False:", FOLDERS),
    Mutant("the umask is not followed", "files.py", "                temporary.chmod(mode)\n", "", "tests/unit/test_files.py"),
    Mutant("an image says where to write", "generation/provenance.py", "    if locations:", "    if False:", "tests/hostile/test_records.py"),
)  # fmt: skip


def _import_libraries() -> None:
    """What tests import, once; neither graftwerk nor what it must be imported before."""
    import diffusers
    import httpx
    import pyarrow.parquet
    import sklearn.linear_model
    import torch
    import transformers.models.bert.modeling_bert
    import transformers.models.clip.modeling_clip

    del diffusers, httpx, pyarrow, sklearn, torch, transformers


def _copy_source(mutant: Mutant, copy: Path) -> None:
    shutil.copytree(SOURCE.parent, copy, ignore=shutil.ignore_patterns("weights"))
    (copy / "graftwerk" / "weights").symlink_to(SOURCE / "weights")
    path = copy / "graftwerk" / mutant.file
    text = path.read_text("utf-8")
    path.write_text(text.replace(mutant.old, mutant.new, 1), "utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def _test(tests: str, copy: Path, log: Path) -> int:  # in the fork; never returns
    os.setpgid(0, 0)  # so that what hangs is ended with what it has started
    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.environ["PYTHONPATH"], os.environ["PYTHONDONTWRITEBYTECODE"] = str(copy), "1"
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    options = ["-n", "0", "-x", "-p", "no:cacheprovider", "--tb=no"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins that are imported
    code = 3  # pytest's own, of an error within
    try:
        import pytest

        code = int(pytest.main([*options, *tests.split()]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def outcome(mutant: Mutant) -> tuple[str, str]:
    """`killed` and by which test, `SURVIVED`, or `hangs`, which its tests notice by their length."""
    with tempfile.TemporaryDirectory() as name:
        copy, log = Path(name) / "src", Path(name) / "log"
        _copy_source(mutant, copy)
        pid = os.fork()
        if pid == 0:
            _test(mutant.tests, copy, log)
        deadline, status = time.monotonic() + _LONGEST, 0
        while not (done := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < deadline:
            time.sleep(0.1)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if not done[0]:
            os.waitpid(pid, 0)
            return "hangs", ""
        text = log.read_text("utf-8", "replace")
        status = os.waitstatus_to_exitcode(done[1])
        if status > 1:  # pytest: neither passed nor failed, nor ended by a signal
            raise RuntimeError(f"{mutant.name}: {text[-2000:]}")
        failed = [line.split()[1] for line in text.splitlines() if line.startswith("FAILED ")]
        return ("killed" if status else "SURVIVED"), " ".join(failed)


def _key(mutant: Mutant) -> str:
    files = [SOURCE / mutant.file, *(ROOT / path for path in sorted(set(mutant.tests.split())))]
    texts = [path.read_text("utf-8") for path in files if path.is_file()]
    return hashlib.sha256(repr((mutant, texts)).encode()).hexdigest()


def run(chosen: Sequence[Mutant], known: State) -> Counter[str]:
    """Print and count the outcomes; the tests must pass without any fault first."""
    counts: Counter[str] = Counter()
    for tests in dict.fromkeys(mutant.tests for mutant in chosen):
        here = [mutant for mutant in chosen if mutant.tests == tests]
        for mutant in [Mutant("none", "files.py", "", "", tests), *here]:
            key = _key(mutant)
            if key not in known:
                known[key] = outcome(mutant)
            found, by = known[key]
            if mutant.old:
                counts[found] += 1
                print(f"{found:9} {mutant.name} ({mutant.file}) {by}", flush=True)
            elif found != "SURVIVED":
                print(f"the tests fail without any fault: {by or tests}", flush=True)
                break
    return counts


def main(words: list[str]) -> int:
    """Run those whose name holds one of the words; 1 where one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--state", type=Path)
    options = parser.parse_args(words)
    chosen = [m for m in MUTANTS if any(word in m.name for word in options.words or [""])]
    _import_libraries()
    counts = run(chosen, State(options.state and options.state / "mutants.jsonl"))
    left = len(chosen) - counts["killed"] - counts["hangs"]
    print(f"{len(chosen) - left} of {len(chosen)} killed, {counts['hangs']} by hanging")
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
