"""Record results that ship with the tour: `python -m bench.tour [NAME ...]`, default all.

Each is what `graft tour --full` shows of a chapter, with the CPU seconds that it took. Those of
long runs (sweep, training, ablation, evaluation) are not made here; their commands stand in them.
"""

import argparse
import datetime
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

from graftwerk import folders, requests
from graftwerk.tour import images, recorded, steering, text
from graftwerk.types import Silent

SECTIONS = {
    "prompts": (
        images.generate_prompts,
        {},
        f'graft generate "{images.PROMPTS[0]}"    # and seven more prompts',
    ),
    "compare": (
        text.compare_methods,
        {},
        f"graft compare topics.csv --target topic --top 1 --epochs {text.EPOCHS}",
    ),
    "control": (
        steering.control_rows,
        {"prompts": steering.CONTROL_PROMPTS[:2]},
        f'graft generate "{steering.CONTROL_PROMPTS[0]}" --control canny-map=canny.png --count 1 '
        f"--steps {steering.CONTROL_STEPS}    # and so on with each condition and prompt",
    ),
    "style": (
        steering.train_style,
        {},
        f"graft fit images --task generate --how lora --steps {steering.LORA_STEPS} --out lora",
    ),
    "photographs": (
        steering.optimize_photographs,
        {},
        f'graft invert --to "class={steering.FLOWER}" --space pixel --guide-model imagenet '
        f"--steps {steering.FLOWER_STEPS}",
    ),
    "inside": (
        images.probe_images,
        {},
        f"graft readout scenes --at middle --target place --moved {images.MOVED}",
    ),
}


# of what the chapters return, what their templates show
GENERATION = {
    "prompt",
    "pictures",
    "sheet",
    "controls",
    "model",
    "sampler",
    "steps",
    "steps_per_second",
}


def _shortened(content: dict) -> dict:
    """Leave out images and figures that the page does not show."""

    def generation(report: dict) -> dict:
        retained = {key: value for key, value in report.items() if key in GENERATION}
        return retained if retained.get("sheet") is None else {**retained, "pictures": []}

    if "rows" in content:
        content["rows"] = [
            [kind, [generation(one) for one in reports]] for kind, reports in content["rows"]
        ]
    elif "tuned" not in content and "noise" not in content:
        content["generated"] = [generation(one) for one in content.get("generated", [])]
    for study in content.get("studies", []):
        study["read"]["moved"] = []
    return content


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tour", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*SECTIONS, []], help="default: all")
    parser.add_argument("--out", type=Path, default=recorded.FOLDER, help="folder of the entries")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = folders.claim(Path(made) / "tour", "tour")
        for name in options.names or SECTIONS:
            build, more, command = SECTIONS[name]
            began, cpu = time.perf_counter(), time.process_time()
            content = build(folder, requests.Tour(out=folder, full=True), Silent(), **more)
            source = {
                "command": command,
                "made": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
                "cpu_seconds": round(time.process_time() - cpu, 1),
            }
            shutil.rmtree(options.out / name, ignore_errors=True)  # images of an earlier recording
            recorded.save(name, _shortened(recorded.plain(content)), source, options.out)
            print(
                f"{name}: {time.perf_counter() - began:.1f} s, CPU {source['cpu_seconds']} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
