"""`graft recipe eval`: a trained model on scenes that it has never seen."""

import time
from dataclasses import replace

from ..contracts import Monitor
from ..frozen.builtin import builtin_folder
from ..recipes.catalogue import Entry, find
from ..recipes.recipe import Setting
from ..recipes.result import open_ingredients, open_judge, open_result
from ..reports import RecipeEvaluation
from ..requests import RecipeEval


def run(request: RecipeEval, monitor: Monitor) -> RecipeEvaluation:
    """Measure a model.

    Raises:
        UnknownName: no such recipe.
        BadFile: the folder holds no model.
        BadInput: it holds a model of another recipe, or a judge is named that is not asked.
        Damaged: a weight file is cut short.
    """
    from ..frozen.loading import choose_device

    began = time.perf_counter()
    entry = find(request.name)
    folder = open_result(request.model or builtin_folder(entry.builtin), entry.name)
    ingredients = open_judge(entry, request.judge) | open_ingredients(
        replace(entry, takes=()), {"diffusion": request.diffusion}
    )
    setting = Setting(request.seed, choose_device(request.device), ingredients, monitor)
    figures = entry.load().evaluate(folder, request.count, setting)
    return RecipeEvaluation(
        recipe=entry.name,
        model=str(folder),
        count=request.count,
        figures=figures,
        aims=dict(entry.reach),
        reached=_reached(entry, figures),
        seconds=time.perf_counter() - began,
    )


def _reached(entry: Entry, figures: dict[str, float]) -> dict[str, bool]:
    reached = {}
    for name, aim in entry.reach.items():
        if name in figures:
            lower = name.endswith("_percent")
            reached[name] = figures[name] <= aim if lower else figures[name] >= aim
    return reached
