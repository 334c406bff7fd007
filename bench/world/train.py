"""Train one model of the Blocks world until its share of the time is over, then measure it.

usage: python -m bench.world.train NAME, with the variables of run.sh
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

WORLD, SECONDS = Path(os.environ["WORLD"]), float(os.environ["WORLD_SECONDS"])
_EVERY = 25  # steps between two looks at the clock
_MEASURED = 500


@dataclass(frozen=True)
class Part:
    """A training.

    Attributes:
        starts: share of the whole time after which it loads its libraries.
        ends: share of the whole time after which its learning rate has decayed to 0.
        batch: items a step.
        rate: learning rate.
        warm_up: steps.
        scenes: name of the variable with their number.
        after: names of models and stages that it waits for.
    """

    starts: float
    ends: float
    batch: int
    rate: float
    warm_up: int
    scenes: str
    after: tuple[str, ...]


PARTS = {
    "autoencoder": Part(0, 0.31, 64, 8e-4, 200, "SCENES", ("images",)),
    "clip": Part(0, 0.21, 512, 1e-3, 200, "SCENES", ("images",)),
    "judge": Part(0, 0.19, 128, 2e-3, 200, "JUDGED", ("images",)),
    "perception": Part(0.08, 0.38, 64, 2e-3, 200, "MAPS", ("maps", "judge")),
    "diffusion": Part(0.05, 0.70, 1024, 1e-3, 150, "SCENES", ("clip", "autoencoder")),
    "noisy-classifier": Part(0.15, 0.52, 512, 2e-3, 150, "SCENES", ("autoencoder", "perception")),
    "control": Part(0.6, 0.93, 128, 1e-3, 30, "MAPS", ("diffusion", "conditions")),
}
NAME = sys.argv[1]
PART = PARTS["control" if NAME.startswith("control-") else NAME]


def passed() -> float:
    """Return the seconds since run.sh began."""
    return time.time() - float((WORLD / "marks" / "began").read_text())


def say(*words: object) -> None:
    """Print what happens, and when."""
    print(f"[{passed():6.1f}] {NAME}:", *words, flush=True)


def end() -> float:
    """When the training ends, in seconds; `$WORLD/ends.json` may move it while it runs."""
    named = WORLD / "ends.json"
    moved = json.loads(named.read_text()) if named.exists() else {}
    return float(moved.get(NAME, moved.get("control", 0) if "control-" in NAME else 0)) or (
        PART.ends * SECONDS
    )


def wait_for(names: tuple[str, ...]) -> None:
    """Wait until these models and stages are done."""
    for name in names:
        paths = (WORLD / "marks" / name, WORLD / name / "model" / "graft.json")
        while not any(path.exists() for path in paths):
            time.sleep(0.2)


if __name__ == "__main__":
    time.sleep(max(0.0, PART.starts * SECONDS - passed()))

from graftwerk import files  # noqa: E402
from graftwerk.commands import blocks  # noqa: E402
from graftwerk.models.hub import builtin_folder  # noqa: E402
from graftwerk.models.transformers import choose_device  # noqa: E402
from graftwerk.recipes import control, registry, result  # noqa: E402
from graftwerk.recipes.scenes import Chunks, Scenes, row_type  # noqa: E402
from graftwerk.requests.models import RecipeRun  # noqa: E402
from graftwerk.training.session import Outcome  # noqa: E402
from graftwerk.training.state import arithmetic, generator_for  # noqa: E402
from graftwerk.types import Silent  # noqa: E402

SIDE = registry.LARGE_SIDE
DEVICE = choose_device("auto")
BATCH = int(os.environ.get("BATCH", PART.batch))
ENTRY = registry.find(NAME)
RECIPE = ENTRY.load()


class Pace(Silent):
    """Sets the number of steps by the clock, so that the learning rate ends at 0 in time."""

    def __init__(self) -> None:
        self._plan: Any = None
        self._most, self._steps = 0, 0
        self._marks: list[tuple[int, float]] = []

    def follow(self, plan: Any) -> None:
        """Begin with this plan, whose number of steps is changed."""
        self._plan, self._most = plan, plan.steps

    def start(self, task: str, total: int | None = None) -> None:
        """Print a stage."""
        say(task, total)

    def note(self, text: str) -> None:
        """Print a note."""
        say(text)

    def advance(self, count: int = 1) -> None:
        """Count a step, and look at the clock now and then."""
        if self._plan is None:
            return
        self._steps += count
        due = passed() > end()
        if self._steps % _EVERY and not due:
            return
        self._marks.append((self._steps, time.time()))
        total = self._steps
        if len(self._marks) > 2 and not due:
            (first, then), (last, now) = self._marks[-3], self._marks[-1]
            seconds = (now - then) / (last - first)
            total = min(
                self._most, max(self._steps + 1, self._steps + int((end() - passed()) / seconds))
            )
            if self._steps % (10 * _EVERY) == 0 or len(self._marks) == 3:
                say(f"step {self._steps} of {total}, {1000 * seconds:.1f} ms,",
                    f"{BATCH / seconds:.0f} items/s")  # fmt: skip
        if due or len(self._marks) > 2:
            object.__setattr__(self._plan, "steps", total)


def compile_ahead(sizes: Any) -> None:
    """Compile for the GPU with made-up data while others prepare; the cache keeps it."""
    setting = registry.Setting(0, DEVICE, {}, Silent(), SIDE)
    many = 4 * BATCH
    if NAME == "autoencoder":
        perception = {"perception": builtin_folder("builtin/blocks-perception")}
        setting = replace(setting, dependencies=perception)
        network = RECIPE._network(sizes, setting).to(DEVICE)
        rows = np.zeros(many, dtype=row_type("pictures", SIDE))
        work = RECIPE.Work(network, sizes, Scenes("none", [rows]), None, setting)
    elif NAME == "diffusion":
        work = _made_up_diffusion(replace(sizes, scenes=many), many, setting)
    else:
        return
    began = time.time()
    for number in range(2):
        with arithmetic(DEVICE, "bfloat16" if DEVICE == "cuda" else "float32"):
            loss, _ = work.loss(work.batch(0, BATCH), generator_for(0, number, DEVICE))
        loss.backward()
    say(f"compiled in {time.time() - began:.1f} s")


def _made_up_diffusion(sizes: Any, many: int, setting: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    from graftwerk.recipes import clip
    from graftwerk.recipes.autoencoder import REAL
    from graftwerk.recipes.cached import CAPTIONS, LENGTH, Captions, make_tokenizer

    tokenizer = make_tokenizer()
    tower = asdict(clip.REAL.text)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=LENGTH,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id, **tower,
    )).to(DEVICE)  # fmt: skip
    steps = (1,) * len(REAL.widths)
    autoencoder = SimpleNamespace(
        config=SimpleNamespace(block_out_channels=steps, latent_channels=REAL.channels)
    )
    side = SIDE // 2 ** (len(steps) - 1)
    latents = Chunks([np.zeros((many, REAL.channels, side, side), np.float16)])
    captions = Captions(Chunks([np.zeros((many, CAPTIONS, LENGTH), np.float16)]))
    return RECIPE.Work(
        sizes, latents, captions, RECIPE.Parts(autoencoder, text, tokenizer), setting
    )


def measure(folder: Path, evaluate: Any) -> None:
    """Measure a finished model, and write the figures into its record and card."""
    record = files.read_sealed_json(folder / result.RECORD)
    assert isinstance(record, dict)
    found = {
        name: WORLD / name / "model"
        for name in (*ENTRY.needs, *(("judge",) if ENTRY.judged else ()))
    }
    wait_for(tuple(found))
    setting = registry.Setting(0, DEVICE, found, Silent(), SIDE)
    count = min(_MEASURED, int(os.environ["HELD_OUT"]))
    record["figures"] = evaluate(folder, count, setting)
    outcome = Outcome(
        record["steps"], True, 0.0, record["skipped_steps"], record["seconds"], 0.0, {}
    )
    made = result.Made(
        ENTRY, record["configuration"], outcome, record["planned_steps"], BATCH, DEVICE, 1
    )
    files.write_sealed_json(folder / result.RECORD, record)
    card = result._card(made, record["figures"], record["hardware"])
    files.write_text(folder / "README.md", card)
    say(json.dumps(record["figures"]))


def main() -> None:
    """Train and measure."""
    size = int(os.environ[PART.scenes])
    needed = {
        name: WORLD / name for name in ENTRY.needs if NAME != "autoencoder"
    }  # the autoencoder compares by the features of the built-in perception: it waits for no other
    request = RecipeRun(
        name=NAME, out=WORLD / NAME, steps=100_000, batch=BATCH, learning_rate=PART.rate,
        scenes=size, side=SIDE, **needed,
    )  # fmt: skip
    result.common_side = lambda *_: SIDE
    former, pace = blocks._sizes, Pace()

    def sizes_of(*given: Any) -> Any:
        sizes = former(*given)
        return replace(sizes, plan=replace(sizes.plan, warm_up=PART.warm_up))

    def train(task: Any, plan: Any, *rest: Any) -> Any:
        pace.follow(plan)
        return run(task, plan, *rest)

    run, branches = blocks.train, control.TrainingJob
    blocks._sizes, blocks.train = sizes_of, train
    if NAME.startswith("control-"):
        held = int(os.environ["HELD_OUT"])
        control.TrainingJob = partial(branches, measurements=6, grids=1)
        blocks._sizes = lambda *given: replace(sizes_of(*given), held_out=held)
    compile_ahead(sizes_of(request, RECIPE, {}, SIDE))
    wait_for(PART.after)
    say("begins")
    owner: Any = control.ControlRecipe if NAME.startswith("control-") else RECIPE
    evaluate, owner.evaluate = RECIPE.evaluate, lambda *_: {}  # later: others wait for the model
    done = blocks.run_recipe_run(request, pace)
    say(f"trained, {done.steps} steps")
    measure(WORLD / NAME / "model", evaluate)


if __name__ == "__main__":
    main()
