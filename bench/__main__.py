"""Run every measurement in one go and print its tables; nothing here passes or fails.

After one section's name its own options can follow: `python -m bench meter --steps 480`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

SECTIONS = {
    "structure": "how much source there is, how it is cut, how far a command is from arithmetic",
    "embedding": "texts per second, beside sentence-transformers",
    "formats": "round trips of tables, a photo in many modes, and cases of odd files",
    "vectors": "nearest neighbors among 100,000 vectors, beside other stores",
    "retrieval": "search on sets of several domains, beside BM25, sentence-transformers and txtai",
    "blocks": "milliseconds a rendered scene takes on one core",
    "generate": "seconds of drawing with a diffusion model, beside diffusers",
    "memory": "peak memory of a pipeline of the size of Stable Diffusion 1.5, beside diffusers",
    "schedulers": "every scheduler of diffusers beside its own pipeline, largest difference",
    "flow": "SD3, Flux and DiT beside diffusers' own pipelines, largest difference of a latent",
    "constructed": "is the right way found where it is known: linear, LoRA or full",
    "prompts": "prompts in a newcomer's words, read as captions and as they stand",
    "workflows": "perturbed attention, rescaling, regions and edits, judged on the Blocks world",
    "guide": "what guiding costs, inversion, and the realism checks on baselines",
    "realism": "whether the realism checks tell photographs from noise and adversarial images",
    "control": "controlled drawing and training, beside diffusers' ControlNet",
    "meter": "whether the convergence meter tells the truth, and what can be predicted",
    "conditions": "scores of real renders: what the readers of conditions bound",
    "adapt": "a linear head on cached features, beside transformers.Trainer",
    "forecast": "zero-shot forecasts beside naive ones, AutoETS and Theta",
    "policy": "success of a robot policy adapted to another object or camera",
    "lora": "LoRA, a step and the top blocks alone, beside peft under transformers.Trainer",
    "lora_forms": "every form of a LoRA beside peft and diffusers, largest difference",
    "photos": "top-1 and top-5 of the fetched classifier, and a linear probe of its features",
    "pose": "BlazePose on photographs beside key points set by hand",
    "efficientnet_lite": "logits of the fetched classifier beside a plain network",
    "warm": "CPU time of a search through an open Index, beside run",
    "cold": "CPU time of a cold search and a cold ask, beside sentence-transformers",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--data", type=Path, help="folder of public data sets (optional)")
    options, more = parser.parse_known_args()
    if more and len(options.sections) != 1:
        parser.error(
            f"options of one section ({' '.join(more)}) with {len(options.sections)} named"
        )
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(
            f"unknown section {', '.join(sorted(unknown))}; allowed: {', '.join(SECTIONS)}"
        )
    data = ["--data", str(options.data)] if options.data and options.data.is_dir() else []
    failed = 0
    for section in options.sections or SECTIONS:
        print(f"\n## {section}: {SECTIONS[section]}\n", flush=True)
        # one process each, so that no section inherits another's threads or caches
        failed += bool(
            subprocess.run(
                [sys.executable, "-m", f"bench.{section}", *data, *more], check=False
            ).returncode
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
