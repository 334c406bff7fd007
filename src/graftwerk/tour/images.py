"""Second chapter: the Blocks world, pictures from prompts, and search among pictures."""

from pathlib import Path
from typing import Any

from .. import folders, requests
from ..commands import blocks, generate, search
from ..commands import index as index_add
from ..types import Monitor, Silent

PROMPTS = (
    "a red cube on grass by day",
    "a blue sphere on snow at night",
    "a waving person in yellow on sand at sunset",
    "a green cone and a white cylinder on stone by day",
    "a sitting person in purple and an orange cube on grass at sunset",
    "a black sphere, a yellow cone and a red cylinder on snow by day",
    "a person in blue with arms out on stone at night",
    "a scene on sand at sunset",
)
SEARCHED = ("a yellow sphere", "a waving person in red", "a scene on snow at night")
SCENE, RENDERED, HITS = 7, 120, 4


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Run the commands of pictures; returns what the template shows."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    place = folder / "pictures"
    folders.remove(place, owner=folder)
    place.mkdir(parents=True)
    sheet = blocks.run_blocks_show(
        requests.BlocksShow(scene=SCENE, out=place / "scene.png", **common), Silent()
    )
    drawn = []
    for number, prompt in enumerate(PROMPTS):
        wanted = requests.Generate(prompt=prompt, out=place / f"prompt-{number}", **common)
        drawn.append(generate.run_generate(wanted, Silent()))
        monitor.advance()
    data, index = place / "scenes", place / "index"
    blocks.run_blocks_render(requests.BlocksRender(count=RENDERED, out=data, **common), monitor)
    paths = sorted(str(path) for path in data.glob("train/*.png"))
    added = index_add.run_index_add(
        requests.IndexAdd(paths=paths, index=index, encoder="builtin/blocks-clip", **common),
        monitor,
    )
    queries = [*SEARCHED, drawn[0].pictures[0].path]
    found = [
        search.run_search(
            requests.Search(query=query, index=index, k=HITS, mode="vector", **common), monitor
        )
        for query in queries
    ]
    return {
        "number": SCENE,
        "sheet": sheet,
        "drawn": drawn,
        "added": added,
        "found": found,
        "relative": lambda path: Path(path).absolute().relative_to(folder.absolute()).as_posix(),
        "is_picture": lambda query: query.endswith(".png"),
    }
