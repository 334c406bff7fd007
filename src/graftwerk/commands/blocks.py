"""`graft blocks` and `graft recipe`: scenes of the Blocks world, and models trained on them.

- `graft blocks render`: render scenes into a data set folder.
- `graft blocks show`: show one scene with all its maps on a contact sheet.
- `graft recipe list`: list the models that can be trained.
- `graft recipe run`: train a model, or resume its training.
- `graft recipe eval`: evaluate a trained model on scenes that it has never seen.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import files, folders
from ..blocks.captions import caption_of
from ..blocks.map_images import sheet_of, write_dataset
from ..blocks.renderer import render
from ..blocks.results import BlocksData, BlocksSheet, RecipeEvaluation, RecipeList, RecipeResult
from ..blocks.sampling import sample_scene
from ..blocks.scene import SIDE, scene_to_data
from ..data.images import write_image
from ..diffusion.checkpoint import open_pipeline, read_config
from ..diffusion.pipeline import LATENTS_OF
from ..errors import BadFile, BadInput, Cancelled
from ..models.checkpoint import fingerprint
from ..models.hub import builtin_folder
from ..models.transformers import choose_device
from ..recipes import result
from ..recipes.registry import LARGE_SIDE, RECIPES, Entry, Observable, Setting, find
from ..requests.models import BlocksRender, BlocksShow, RecipeEval, RecipeRun
from ..requests.models import RecipeList as Request
from ..training.loop import CHECKPOINTS, is_training, train
from ..training.session import Outcome, Plan, Session, joined
from ..training.state import fast_precision, require_same
from ..types import Monitor, Silent


def run_blocks_render(request: BlocksRender, monitor: Monitor) -> BlocksData:
    """Render into a temporary folder, which is renamed when it is complete."""
    began = time.perf_counter()
    target = request.out.absolute()
    folders.require_replaceable(target, "result to replace")
    monitor.start("rendering", request.count)
    try:
        with folders.working_folder(target) as folder:
            written = write_dataset(
                folder, request.seed, request.count, request.size, request.objects
            )
            for finished in written:
                monitor.advance(finished)
            size = files.size_of(folder)
    except Cancelled as error:
        raise Cancelled(error.message, f"{target} was not written.") from error
    seconds = time.perf_counter() - began
    return BlocksData(
        folder=str(request.out),
        scenes=request.count,
        size=request.size,
        seed=request.seed,
        bytes=size,
        per_second=request.count / seconds,
        seconds=seconds,
    )


def run_blocks_show(request: BlocksShow, monitor: Monitor) -> BlocksSheet:
    """Render the contact sheet and write it."""
    if request.out.suffix.lower() != ".png" or request.out.is_dir():
        raise BadFile(f"{request.out} cannot be a PNG file.", "Name a file that ends in .png.")
    monitor.start("drawing")
    scene = sample_scene(request.seed, request.scene)
    sheet = sheet_of(scene, request.size)
    began = time.perf_counter()
    render(scene, request.size, request.size)
    milliseconds = 1000 * (time.perf_counter() - began)
    write_image(request.out.absolute(), sheet)
    return BlocksSheet(
        caption=caption_of(scene),
        out=str(request.out),
        scene=scene_to_data(scene),
        milliseconds=milliseconds,
    )


def run_recipe_eval(request: RecipeEval, monitor: Monitor) -> RecipeEvaluation:
    """Evaluate a model."""
    began = time.perf_counter()
    entry = find(request.name)
    folder = result.open_result(request.model or builtin_folder(entry.builtin), entry.name)
    recipe = entry.load()
    if request.sheet is not None and not hasattr(recipe, "sheet"):
        raise BadInput(f"the recipe {entry.name} has no --sheet.", "Leave it out.")
    dependencies = result.open_judge(entry, request.judge) | _compared(request, entry, folder)
    side = result.common_side(None, dependencies | {"model": folder}, entry.name)
    setting = Setting(request.seed, choose_device(request.device), dependencies, monitor, side)
    figures = recipe.evaluate(folder, request.count, setting)
    if request.sheet is not None:
        write_image(request.sheet, recipe.sheet(folder, setting))
    return RecipeEvaluation(
        recipe=entry.name,
        model=str(folder),
        count=request.count,
        figures=figures,
        aims=dict(entry.reach),
        reached=_reached(entry, figures),
        seconds=time.perf_counter() - began,
    )


def _compared(request: RecipeEval, entry: Entry, folder: Path) -> dict[str, Path]:
    """Return what a model is measured with; an autoencoder beside the built-in one."""
    named = {"diffusion": request.diffusion, "autoencoder": request.autoencoder}
    whole = entry.name in ("autoencoder", "diffusion")  # these were trained with others, no more
    takes = ("autoencoder",) if entry.name == "autoencoder" else ()
    if takes and request.autoencoder is None:
        own = builtin_folder(entry.builtin)
        same_side = result.side_of(folder) == result.side_of(own)
        named["autoencoder"] = own if same_side and folder != own else None
    return result.open_dependencies(
        replace(entry, takes=takes, needs=() if whole else entry.needs), named
    )


def _reached(entry: Entry, figures: dict[str, float]) -> dict[str, bool]:
    reached = {}
    for name, aim in entry.reach.items():
        if name in figures:
            lower = name.endswith("_percent")
            reached[name] = figures[name] <= aim if lower else figures[name] >= aim
    return reached


def run_recipe_list(request: Request, monitor: Monitor) -> RecipeList:  # noqa: ARG001
    """List the recipes in the order in which they can be made."""
    return RecipeList(
        recipes=[
            {
                "name": entry.name,
                "about": entry.about,
                "layout": entry.layout,
                "needs": list(entry.needs),
                "aims": dict(entry.reach),
            }
            for entry in RECIPES
        ]
    )


KIND = "training"
_HELD_OUT, _FEWEST = 500, 8  # scenes for the metrics in the model card
_GENTLER = 0.5  # learning rate factor for finished weights, which the full rate degrades at first


def run_recipe_run(request: RecipeRun, monitor: Monitor) -> RecipeResult:
    """Train, then write the model with its metrics and model card.

    Under torchrun every process calls this; only the first one writes.
    """
    entry = find(request.name)
    out = request.out.absolute()
    takes = ("clip", "autoencoder", "diffusion", "perception")
    dependencies = result.open_dependencies(entry, {name: getattr(request, name) for name in takes})
    judge = result.open_judge(entry, request.judge)
    folders.require_free(out, KIND, KIND, _is_former)
    folders.require_outside((*dependencies.values(), *judge.values()), out / result.MODEL)
    recipe = entry.load()
    side = result.common_side(request.side, {**dependencies, **judge}, entry.name)
    sizes = _sizes(request, recipe, dependencies, side)
    configuration = _configuration(request, sizes, dependencies, side)
    require_same(out / CHECKPOINTS, configuration)
    device = choose_device(request.device)
    fast = fast_precision(device)
    with joined(device) as group:
        watcher = monitor if group.leads else Silent()
        setting = Setting(request.seed, device, {**dependencies, **judge}, watcher, side)
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
        model=str(out / result.MODEL),
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
    entry: Entry, sizes: Any, setting: Setting, session: Session
) -> tuple[Outcome, dict[str, float]]:
    recipe, plan, group = entry.load(), sizes.plan, session.group
    if group.leads:
        folders.claim(session.folder, KIND, verify=_is_former)
    work = recipe.prepare(sizes, setting)
    if isinstance(work, Observable):
        session = replace(session, watch=work.watcher(session).watch)
    outcome = train(work, plan, session, setting.monitor)
    figures: dict[str, float] = {}
    if group.leads:
        finished = setting.dependencies.get(entry.name)
        count = min(_HELD_OUT, max(_FEWEST, sizes.scenes // 2))
        made = result.Made(
            entry=entry,
            configuration=session.configuration,
            outcome=outcome,
            planned=plan.steps,
            batch=plan.batch,
            device=setting.device,
            processes=group.size,
            before=result.history_of(finished) if finished else (),
        )
        figures = result.write_result(
            session.folder / result.MODEL,
            made,
            save=lambda folder: work.save(folder, outcome.average),
            complete=partial(getattr(recipe, "complete", _add_nothing), setting=setting),
            measure=lambda folder: recipe.evaluate(folder, count, setting),
        )
    group.wait()
    return outcome, figures


def _add_nothing(folder: Path, setting: Setting) -> None:
    """Most recipes have nothing to add to what their model is saved as."""


def _sizes(request: RecipeRun, recipe: Any, dependencies: Mapping[str, Path], side: int) -> Any:
    """Return the recipe's sizes for images of this side, with the requested changes."""
    sizes = recipe.TINY if request.tiny else recipe.REAL
    finished, autoencoder = dependencies.get(request.name), dependencies.get("autoencoder")
    twice = finished is not None and result.side_of(finished) < side
    if side == LARGE_SIDE and not request.tiny:
        small = autoencoder is not None and LATENTS_OF in read_config(autoencoder)
        changes = recipe.DOUBLED if twice else {} if small else getattr(recipe, "LARGE", {})
        sizes = replace(sizes, **changes)
    plan: Plan = sizes.plan
    if finished is not None and not twice:
        plan = replace(plan, learning_rate=_GENTLER * plan.learning_rate)
    fields = ("steps", "batch", "learning_rate")
    asked = {name: value for name in fields if (value := getattr(request, name)) is not None}
    return replace(sizes, plan=replace(plan, **asked), scenes=request.scenes or sizes.scenes)


def _configuration(
    request: RecipeRun, sizes: Any, dependencies: Mapping[str, Path], side: int
) -> dict[str, Any]:
    """Return everything that determines the training; the number of steps may grow later.

    An autoencoder is identified by what determines its latents, a CLIP by what determines its text
    states: another decoder or image encoder does not change a training on them.
    """
    from ..recipes.autoencoder import latents_identity
    from ..recipes.clip import states_identity

    numbers = asdict(sizes)
    del numbers["plan"]["steps"]
    identities: dict[str, Callable[[Path], str]] = {
        "autoencoder": latents_identity,
        "clip": states_identity,
        "diffusion": lambda folder: open_pipeline(folder).fingerprint(),
    }
    made_from = {}
    for name, folder in dependencies.items():
        found = None if name == request.name else identities.get(name)
        made_from[name] = found(folder) if found else fingerprint(folder, {})
    return {
        "recipe": request.name,
        "seed": request.seed,
        "sizes": numbers,
        "ingredients": made_from,
        **({} if side == SIDE else {"side": side}),
    }


def _is_former(folder: Path) -> bool:
    return is_training(folder)
