"""A process that fits in children, which tests kill or whose disk they fill.

It imports everything once and forks for each line of JSON on its standard input: the options of
`graft fit`, where the report goes, and how large a file may grow.
"""

import functools
import json
import resource
import signal
from pathlib import Path

import peft  # noqa: F401  so that no child has to
import sklearn.linear_model
import sklearn.model_selection  # noqa: F401
import torch
import transformers.models.bert.modeling_bert  # noqa: F401
from tests.forking import serve

from graftwerk.commands import fit
from graftwerk.errors import GraftError
from graftwerk.finetune import run
from graftwerk.requests.finetune import Fit
from graftwerk.training.session import Session
from graftwerk.types import Silent


def child(task):
    """Fit; the report or the error goes to `task["report"]`."""
    limit = task.get("size_limit")
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        answer = {"report": fit.run_fit(Fit(**task["fit"]), Silent()).model_dump(mode="json")}
    except GraftError as error:
        answer = error.to_json()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    Path(task["report"]).write_text(json.dumps(answer))


def main():
    torch.set_num_threads(1)
    run.Session = functools.partial(Session, save_seconds=0.1)  # many checkpoints
    serve(child)


if __name__ == "__main__":
    main()
