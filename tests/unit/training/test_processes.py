"""Two processes are one with the double batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from tests.train_toys import PLAN, Toy, run_toy, weights_of

from graftwerk.training.loop import Log

ROOT = Path(__file__).parents[3]


def test_two_processes(tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launch, "-m", "tests.train_toys"]
    done = subprocess.run(
        [*command, str(tmp_path / "two"), str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"out.{rank}").read_bytes() for rank in (0, 1))
    assert first == second
    alone = weights_of(run_toy(tmp_path / "one", toy=Toy(noise=0.0)))
    pair = [np.frombuffer(weights, dtype=np.float32) for weights in (first, alone)]
    np.testing.assert_allclose(*pair, rtol=1e-3, atol=1e-4)
    logs = [Log(tmp_path / name / "log.jsonl").read() for name in ("one", "two")]
    assert [len(log) for log in logs] == [PLAN.steps] * 2
    np.testing.assert_allclose(*([e["loss"] for e in log] for log in logs), rtol=1e-3)
