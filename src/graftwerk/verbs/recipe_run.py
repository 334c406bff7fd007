"""`graft recipe run`: train a model of the Blocks world, or go on with it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import folders
from ..contracts import Monitor, Silent
from ..recipes.catalogue import Entry, find
from ..recipes.recipe import Setting, Watched
from ..recipes.result import (
    MODEL,
    Made,
    history_of,
    open_ingredients,
    open_judge,
    write_result,
)
from ..reports import RecipeResult
from ..requests import RecipeRun
from ..train.task import Plan

if TYPE_CHECKING:
    from ..train.session import Outcome, Session

KIND = "training"
_HELD_OUT, _FEWEST = 500, 8  # scenes for the figures of the card
_GENTLER = 0.5  # of the learning rate on finished weights, which lose at first at the full one


def run(request: RecipeRun, monitor: Monitor) -> RecipeResult:
    """Train, then write the model with its figures and card.

    Under torchrun every process calls this; only the first one writes.

    Raises:
        UnknownName: no such recipe.
        BadInput: a model is named that it has no use for, or the folder holds a training of
            another configuration.
        BadFile: the folder holds something else.
        Damaged: the folder's checkpoints are damaged, all of them.
        Diverged: the loss is not finite any more.
        Cancelled: stopped by the user; the last step is kept.
        NoRoom: something cannot be written.
    """
    from ..frozen.loading import choose_device
    from ..train import checkpoint
    from ..train.arithmetic import fast_precision
    from ..train.loop import CHECKPOINTS
    from ..train.processes import joined
    from ..train.session import Session

    entry = find(request.name)
    out = request.out.absolute()
    named = {"clip": request.clip, "autoencoder": request.autoencoder}
    ingredients = open_ingredients(entry, named | {"diffusion": request.diffusion})
    judge = open_judge(entry, request.judge)
    folders.require_free(out, KIND, KIND, _is_former)
    folders.require_outside((*ingredients.values(), *judge.values()), out / MODEL)
    recipe = entry.load()
    sizes = _sizes(request, recipe.TINY if request.tiny else recipe.REAL, ingredients)
    configuration = _configuration(request, sizes, ingredients)
    checkpoint.require_same(out / CHECKPOINTS, configuration)
    device = choose_device(request.device)
    fast = fast_precision(device)
    with joined(device) as group:
        watcher = monitor if group.leads else Silent()
        setting = Setting(request.seed, device, {**ingredients, **judge}, watcher)
        session = Session(
            out,
            configuration,
            request.seed,
            request.minutes,
            group=group,
            precision=fast if request.precision == "auto" else request.precision,
        )
        outcome, figures = _train(entry, sizes, setting, session)
    return RecipeResult(
        recipe=entry.name,
        model=str(out / MODEL),
        steps=outcome.step,
        planned=sizes.plan.steps,
        finished=outcome.finished,
        loss=outcome.loss,
        skipped=outcome.skipped,
        items_per_second=outcome.items_per_second,
        figures=figures,
        seconds=outcome.seconds,
    )


def _train(
    entry: Entry, sizes: Any, setting: Setting, session: "Session"
) -> "tuple[Outcome, dict[str, float]]":
    """Train and write the result; only the first of several processes has figures."""
    from ..train.loop import train

    recipe, plan, group = entry.load(), sizes.plan, session.group
    if group.leads:
        folders.claim(session.folder, KIND, verify=_is_former)
    work = recipe.prepare(sizes, setting)
    if isinstance(work, Watched):
        session = replace(session, watch=work.watcher(session).watch)
    outcome = train(work, plan, session, setting.monitor)
    figures: dict[str, float] = {}
    if group.leads:
        finished = setting.ingredients.get(entry.name)
        count = min(_HELD_OUT, max(_FEWEST, sizes.scenes // 2))
        made = Made(
            entry=entry,
            configuration=session.configuration,
            outcome=outcome,
            planned=plan.steps,
            batch=plan.batch,
            device=setting.device,
            processes=group.size,
            before=history_of(finished) if finished else (),
        )
        figures = write_result(
            session.folder / MODEL,
            made,
            save=lambda folder: work.save(folder, outcome.average),
            complete=lambda folder: recipe.complete(folder, setting),
            measure=lambda folder: recipe.evaluate(folder, count, setting),
        )
    group.wait()
    return outcome, figures


def _sizes(request: RecipeRun, sizes: Any, ingredients: Mapping[str, Path]) -> Any:
    """The recipe's sizes as they were asked for."""
    plan: Plan = sizes.plan
    if request.steps is not None:
        plan = replace(plan, steps=request.steps)
    if request.batch is not None:
        plan = replace(plan, batch=request.batch)
    if request.learning_rate is not None:
        plan = replace(plan, learning_rate=request.learning_rate)
    elif request.name in ingredients:
        plan = replace(plan, learning_rate=_GENTLER * plan.learning_rate)
    scenes = sizes.scenes if request.scenes is None else request.scenes
    return replace(sizes, plan=plan, scenes=scenes)


def _configuration(
    request: RecipeRun, sizes: Any, ingredients: Mapping[str, Path]
) -> dict[str, Any]:
    """What the training is a function of; the number of steps may grow later.

    Of an autoencoder that is what decides its latents, of a CLIP what decides the states of its
    texts: another decoder or picture half changes no training on them.
    """
    from ..frozen.diffusion.folder import open_pipeline
    from ..frozen.folder import fingerprint
    from ..recipes.autoencoder import latents_identity
    from ..recipes.clip import states_identity

    numbers = asdict(sizes)
    del numbers["plan"]["steps"]
    identities: dict[str, Callable[[Path], str]] = {
        "autoencoder": latents_identity,
        "clip": states_identity,
        "diffusion": lambda folder: open_pipeline(folder).fingerprint(),
    }
    made_from = {
        name: fingerprint(folder, {}) if name == request.name else identities[name](folder)
        for name, folder in ingredients.items()
    }
    return {
        "recipe": request.name,
        "seed": request.seed,
        "sizes": numbers,
        "ingredients": made_from,
    }


def _is_former(folder: Path) -> bool:
    """Whether an unmarked folder holds a training."""
    from ..train.begun import is_training

    return is_training(folder)
