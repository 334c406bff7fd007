"""`graft blocks episodes|replay`, `graft eval policy`, and `graft fit` on episodes of a robot."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import files, folders
from ..adapters.tuned import require_free
from ..errors import BadInput, BadValue
from ..library.policy import HELD_OUT, SHARED, Policy
from ..policy.episodes import read_episodes, require_film, write_film
from ..policy.network import KIND
from ..policy.results import EpisodeShown, EpisodesWritten, PolicyEvaluation, PolicyFit
from ..policy.world import FPS, FRAMES, TOLERANCE, Robot, Task, of_policy, record, roll_out
from ..requests.base import DEFAULT_POLICY
from ..requests.finetune import Fit
from ..requests.models import BlocksEpisodes, BlocksReplay, EvalPolicy
from ..types import Monitor, note_unused

_SHOWN, _SHOWN_SIDE = 6, 160  # episodes of a film, and the side of each in pixels
_READ = {"data", "model", "how", "out", "yes", *SHARED}
_UNUSED = dict.fromkeys(("linear", "full"), ("rank", "alpha"))


def run_blocks_episodes(request: BlocksEpisodes, monitor: Monitor) -> EpisodesWritten:
    """Record episodes of the expert into a new folder."""
    began = time.perf_counter()
    target, task = request.out.absolute(), Task(request.target, request.camera, request.size)
    folders.require_replaceable(target, "result to replace")
    monitor.start("recording the expert", request.count)
    frames = 0
    with folders.working_folder(target) as working:
        for length in record(working, task, request.seed, request.count):
            frames += length
            monitor.advance()
    return EpisodesWritten(
        folder=str(request.out),
        task=task.words,
        camera=task.camera,
        episodes=request.count,
        frames=frames,
        fps=FPS,
        bytes=files.size_of(target),
        seconds=time.perf_counter() - began,
    )


def run_blocks_replay(request: BlocksReplay, monitor: Monitor) -> EpisodeShown:
    """Write the frames of one episode."""
    require_film(request.out)
    monitor.start("reading")
    data = read_episodes(request.data)
    rows = np.flatnonzero(data.episode == request.episode)
    if not len(rows):
        raise BadValue(
            "episode",
            request.episode,
            f"it must be 0 to {data.episode.max()}",
            f"{request.data} has no more.",
        )
    words = ", ".join(data.tasks)
    title = f"{words}, episode {request.episode}"
    write_film(request.out, [list(data.images[rows])], data.fps, title)
    return EpisodeShown(
        data=str(request.data),
        out=str(request.out),
        task=words,
        episode=request.episode,
        frames=len(rows),
        episodes=data.count,
    )


def run_eval_policy(request: EvalPolicy, monitor: Monitor) -> PolicyEvaluation:
    """Run the policy in simulation, and write a film of the first episodes."""
    began = time.perf_counter()
    if request.out is not None:
        require_film(request.out)
    policy = Policy(request.model, seed=request.seed, device=request.device)
    rows = policy.success(
        request.count, target=request.target, camera=request.camera, monitor=monitor
    )
    task = policy.task_with(request.target, request.camera)
    if request.out is not None:
        episodes: list[list[Any]] = [[] for _ in range(min(_SHOWN, request.count))]

        def watch(robots: list[Robot]) -> None:
            for seen, robot in zip(episodes, robots, strict=True):
                seen.append(robot.look(_SHOWN_SIDE))

        starts = range(len(episodes))
        roll_out(of_policy(policy.kernel), task, HELD_OUT + request.seed, starts, watch)
        write_film(request.out, episodes, float(FPS), task.words)
    return PolicyEvaluation(
        policy=str(request.model),
        task=task.words,
        camera=task.camera,
        episodes=request.count,
        tolerance=TOLERANCE,
        frames=FRAMES,
        rows=rows,
        out=None if request.out is None else str(request.out),
        seconds=time.perf_counter() - began,
    )


def run_fit_policy(request: Fit, monitor: Monitor) -> PolicyFit:
    """Adapt a policy to episodes."""
    began = time.perf_counter()
    unread = sorted(request.model_fields_set - _READ)
    if unread:
        option = unread[0].replace("_", "-")
        raise BadInput(f"--{option} is not for episodes of a robot.", "Leave it out.")
    how = request.how or "lora"
    if how == "auto":
        raise BadValue("how", how, "episodes take linear, lora or full", "Default: lora.")
    note_unused(request.model_fields_set, _UNUSED, how, monitor)
    model = str(request.model) if "model" in request.model_fields_set else DEFAULT_POLICY
    out = request.out.absolute()
    folders.require_outside((request.data, model), out)
    require_free(out, KIND, "adapted policy")
    folders.note_replaced(out, monitor.note)
    policy = Policy(model, how, **{n: getattr(request, n) for n in SHARED})
    data = read_episodes(Path(request.data))
    policy.fit(data, monitor=monitor)
    policy.save(out)
    found = policy.adapted
    assert found is not None  # noqa: S101  by fit
    if found.tuned.after >= found.mean:
        monitor.note(
            "the policy predicts held-out actions no better than always taking the mean: "
            "train for more --steps or record more episodes"
        )
    return PolicyFit(
        out=str(request.out),
        how=policy.method,
        model=model,
        task=", ".join(data.tasks),
        episodes=found.episodes,
        held_out=found.held,
        frames=found.frames,
        error_before=found.tuned.before,
        error_after=found.tuned.after,
        error_of_mean=found.mean,
        share=found.tuned.share,
        parameters=found.tuned.parameters,
        bytes=files.size_of(out),
        seconds=time.perf_counter() - began,
    )
