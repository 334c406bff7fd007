"""A process that carries out index commands in children, which tests kill.

It imports everything once and forks for each line of JSON on its standard input, so that a child
costs milliseconds. Each commit that a child reports is appended to its `log`.
"""

import json
import resource
import signal
from pathlib import Path

from tests.forking import serve
from tests.support import HashEncoder

from graftwerk.commands import search as index_add
from graftwerk.commands import search as index_rebuild
from graftwerk.commands import search as index_remove
from graftwerk.errors import GraftError
from graftwerk.library import index as library
from graftwerk.requests.search import IndexAdd, IndexRebuild, IndexRemove
from graftwerk.search import ingest
from graftwerk.search.index import Index
from graftwerk.types import Silent

ENCODERS = {
    "builtin/minilm": HashEncoder(name="builtin/minilm"),
    "test/other": HashEncoder(name="test/other", dimension=48),
}
BATCH = 8


def load(name, **_):
    return ENCODERS[name]


def run(task):
    """Carry out one verb."""
    index = Path(task["index"])
    if task["verb"] == "add":
        return index_add.run_index_add(IndexAdd(paths=task["paths"], index=index), Silent())
    if task["verb"] == "remove":
        return index_remove.run_index_remove(
            IndexRemove(paths=task["paths"], index=index), Silent()
        )
    request = IndexRebuild(index=index, encoder=task.get("encoder"))
    return index_rebuild.run_index_rebuild(request, Silent())


def log_commits(path):
    """Append the path of every file to `path` once it was reported as stored."""
    plain = Index.put_all

    def put_all(index, entries):
        outcomes = plain(index, entries)
        with Path(path).open("a") as log:
            log.writelines(f"{json.dumps(entry.path)}\n" for entry in entries)
        return outcomes

    Index.put_all = put_all


def child(task):
    """Run a task in the forked child; its report goes to `task["report"]`."""
    if "log" in task:
        log_commits(task["log"])
    if "size_limit" in task:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = task["size_limit"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        answer = {"report": json.loads(run(task).model_dump_json())}
    except GraftError as error:
        answer = error.to_json()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    if "report" in task:
        Path(task["report"]).write_text(json.dumps(answer))


def patch():
    """Put the stand-ins in their places."""
    ingest.BATCH_PASSAGES = BATCH
    library.load_encoder = load


if __name__ == "__main__":
    patch()
    serve(child)
