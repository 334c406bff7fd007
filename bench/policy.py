"""Adapting the built-in policy to another object or camera: success by method and episodes.

The first rows of each task are the policy without adaptation, chance and the expert. All are run
from the same held-out starts. --features compares the maps of both Blocks encoders instead, by the
same network trained on the same frames: the share of held-out frames whose action is right.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import graftwerk as gw
from graftwerk.blocks.networks import load_perception
from graftwerk.library.policy import HELD_OUT
from graftwerk.models.encoders import load_encoder
from graftwerk.models.hub import builtin_folder
from graftwerk.policy.episodes import Episodes, read_episodes
from graftwerk.policy.network import ENCODER, PolicyNetwork, look
from graftwerk.policy.world import (
    TOLERANCE,
    Act,
    Task,
    expert,
    of_policy,
    random_actions,
    record,
    success_of,
)
from graftwerk.training.state import generator_for, initialise

TASKS = {"blue sphere, front": ("blue sphere", "front"), "red cube, left": ("red cube", "left")}
SEED, HELD = 11, 12


def recorded(folder: Path, task: Task, seed: int, count: int) -> Episodes:
    """Episodes of the expert, by the files that users get."""
    place = folder / f"{task.target}-{task.camera}-{seed}-{count}"
    place.mkdir()
    list(record(place, task, seed, count))
    return read_episodes(place)


def adapted(folder: Path, counts: list[int], starts: int, steps: int) -> None:
    for name, (target, camera) in TASKS.items():
        print(f"\n{name}: share of {starts} held-out starts, its 95 % interval")
        task = Task(target, camera)
        frozen = of_policy(gw.Policy("builtin/policy", device="cpu").kernel)
        for what, act in {"frozen": frozen, "random": random_actions(0), "expert": expert}.items():
            print(f"{what:36} {shown(act, task, starts)}", flush=True)
        for count in counts:
            data = recorded(folder, task, SEED, count)
            for method in ("linear", "lora", "full"):
                policy = gw.Policy("builtin/policy", method=method, steps=steps, device="cpu")
                policy.fit(data)
                what = (
                    f"{count:4} episodes, {method:6} {policy.adapted.tuned.parameters:6,} numbers"
                )
                print(f"{what:36} {shown(of_policy(policy.kernel), task, starts)}", flush=True)


def shown(act: Act, task: Task, starts: int) -> str:
    found = success_of(act, task, HELD_OUT, starts)
    return f"{found.success:.2f} ({found.low:.2f} to {found.high:.2f})"


def features(folder: Path, count: int, steps: int) -> None:
    """Train the same network on the maps of both encoders."""
    learned, held = (
        recorded(folder, Task(), seed, count // n) for seed, n in ((SEED, 1), (HELD, 4))
    )
    eyes = load_perception(builtin_folder(ENCODER), "cpu")
    clip = load_encoder("builtin/blocks-clip", device="cpu")
    from transformers import CLIPModel

    tower = CLIPModel.from_pretrained(builtin_folder("builtin/blocks-clip")).vision_model.eval()

    def patches(images: np.ndarray, layer: int) -> torch.Tensor:
        from PIL import Image

        found = []
        for at in range(0, len(images), 64):
            given = clip.prepare([Image.fromarray(one) for one in images[at : at + 64]])
            with torch.inference_mode():
                states = tower(given["pixel_values"], output_hidden_states=True).hidden_states
            found.append(states[layer][:, 1:].transpose(1, 2).unflatten(2, (8, 8)))
        return torch.cat(found)

    mean = np.linalg.norm(learned.actions.mean(axis=0) - held.actions, axis=1)
    shown = f"{(mean <= TOLERANCE).mean():.3f}, median error {np.median(mean):.3f}"
    print(f"{'always the mean action':30} {shown}")
    looks = {"perception, 1/4 of the sides": lambda images: look(eyes, images).float()}
    for layer in (2, 4, 6):
        looks[f"CLIP, layer {layer}, patches"] = lambda images, layer=layer: patches(images, layer)
    for name, see in looks.items():
        maps = see(learned.images)
        sizes = {"points": 32, "width": 128, "state": 3, "action": 3, "side": 64, "fps": 5}
        about = {"encoder": {"name": "", "fingerprint": ""}, "target": "", "camera": ""}
        network = PolicyNetwork(sizes | about | {"channels": maps.shape[1]})
        initialise(network, generator_for(0, 0, "cpu"))
        states, actions = torch.from_numpy(learned.states), torch.from_numpy(learned.actions)
        network.normalise_by(maps, states, actions)
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
        generator = np.random.default_rng(0)
        for _ in range(steps):
            rows = torch.from_numpy(generator.integers(0, len(maps), 64))
            loss = network.loss(maps[rows], states[rows], actions[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            found = network(see(held.images), torch.from_numpy(held.states)).numpy()
        away = np.linalg.norm(found - held.actions, axis=1)
        print(f"{name:30} {(away <= TOLERANCE).mean():.3f}, median error {np.median(away):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description=__doc__)
    parser.add_argument("--episodes", type=int, nargs="+", default=[5, 20, 50])
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--features", type=int, metavar="EPISODES")
    parser.add_argument("--data", type=Path, help="not used")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.features:
            features(Path(folder), options.features, options.steps)
        else:
            adapted(Path(folder), options.episodes, options.starts, options.steps)


if __name__ == "__main__":
    main()
