"""A process that carries out index verbs in children, which tests kill.

It imports everything once and forks for each line of JSON on its standard input, so that a child
costs milliseconds. Each commit that a child reports is appended to its `log`.
"""

import json
import resource
import signal
from pathlib import Path

from tests.forking import serve
from tests.support import HashEncoder

from graftwerk.contracts import Silent
from graftwerk.errors import GraftError
from graftwerk.requests import IndexAdd, IndexRebuild, IndexRemove
from graftwerk.search import add as adding
from graftwerk.search.index import Index
from graftwerk.verbs import index_add, index_rebuild, index_remove, opening

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
        return index_add.run(IndexAdd(paths=task["paths"], index=index), Silent())
    if task["verb"] == "remove":
        return index_remove.run(IndexRemove(paths=task["paths"], index=index), Silent())
    request = IndexRebuild(index=index, encoder=task.get("encoder"))
    return index_rebuild.run(request, Silent())


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
    adding.BATCH_PASSAGES = BATCH
    for module in (index_add, index_rebuild, opening):
        module.load_encoder = load


if __name__ == "__main__":
    patch()
    serve(child)
