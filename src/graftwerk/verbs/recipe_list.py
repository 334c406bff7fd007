"""`graft recipe list`: what can be trained."""

from ..contracts import Monitor
from ..recipes.catalogue import RECIPES
from ..reports import RecipeList
from ..requests import RecipeList as Request


def run(request: Request, monitor: Monitor) -> RecipeList:  # noqa: ARG001
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
