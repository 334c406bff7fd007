"""Format reports of recipes for the terminal."""

from ..blocks.results import RecipeEvaluation, RecipeList, RecipeResult
from ..text_safety import printable
from .format import table


def list_lines(report: RecipeList) -> list[str]:
    """List what each recipe trains, and its target figures."""
    lines = []
    for recipe in report.recipes:
        aims = ", ".join(f"{name} {value:g}" for name, value in recipe["aims"].items())
        lines.append(f"{recipe['name']}: {recipe['about']}")
        lines.append(f"  {recipe['layout']}; aims at {aims}")
        if recipe["needs"]:
            lines.append(f"  made from {' and '.join(recipe['needs'])}")
    return lines


def result_lines(report: RecipeResult) -> list[str]:
    """Show figures, steps, and the path of the model."""
    left = "" if report.finished else "; run it again to go on"
    return [
        *(f"{name}: {value:.4g}" for name, value in report.figures.items()),
        f"{report.steps:,} of {report.planned:,} steps, loss {report.loss:.4g}, "
        f"{report.items_per_second:.1f} items/s, {report.seconds / 60:.1f} min{left}",
        f"-> {printable(report.model)}",
    ]


def evaluation_lines(report: RecipeEvaluation) -> list[str]:
    """Show figures next to their targets."""
    rows = []
    for name, value in report.figures.items():
        aim = f"{report.aims[name]:g}" if name in report.aims else ""
        reached = {True: "yes", False: "no", None: ""}[report.reached.get(name)]
        rows.append([name, f"{value:.4g}", aim, reached])
    return [
        *table(["figure", "measured", "aim", "reached"], rows),
        f"{report.count:,} held-out scenes, {report.seconds:.1f} s",
    ]
