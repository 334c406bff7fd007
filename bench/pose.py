"""Key points of people in photographs: BlazePose beside key points that were set by hand.

    python -m bench pose --data ../shared/data --people people.json

`people.json` names photographs of `photos/photos.zip`, and for each a list of people: key point to
x, y in pixels. A key point is right within a tenth of the longer side of its person's.
"""

import argparse
import json
import zipfile
from pathlib import Path

import numpy as np

from bench.photos import read
from graftwerk.blocks.geometry import JOINTS
from graftwerk.conditions.blazepose import FROM_BLAZE, VISIBLE, load_blazepose
from graftwerk.conditions.estimators import openpose
from graftwerk.models.fetching import fetched_folder

REACH = 0.1  # of the longer side


def table(person: dict[str, list[float]]) -> np.ndarray:
    """Key points in OpenPose's order, NaN where there is none."""
    points = np.full((len(JOINTS), 2), np.nan)
    for name, point in person.items():
        points[JOINTS.index(name)] = point
    return points


def box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low = np.nanmin(points, axis=0)
    return low, np.nanmax(points, axis=0) - low


def right(found: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which of a person's key points another set has; only those that were set by hand count."""
    far = np.hypot(*(found - points).T)
    return far[~np.isnan(points[:, 0])] <= REACH * box(points)[1].max()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--people", type=Path, required=True)
    options = parser.parse_args()
    find = load_blazepose(fetched_folder("blazepose"))
    people = json.loads(options.people.read_text())
    persons = [(name, table(one)) for name, several in people.items() for one in several]
    with zipfile.ZipFile(options.data / "photos" / "photos.zip") as archive:
        images = {name: np.asarray(read(archive, name)) for name in people}
    seen = {
        name: [openpose(*one, FROM_BLAZE, VISIBLE) for one in find(image)]
        for name, image in images.items()
    }
    hits, chance, of_found = [], [], []
    for number, (name, points) in enumerate(persons):
        tried = [right(one[:, :2], points) for one in seen[name]]
        best = max(tried, key=np.sum, default=np.zeros(int((~np.isnan(points[:, 0])).sum()), bool))
        hits.append(best)
        if best.mean() > 0.3:  # otherwise it found someone else
            of_found.append(best)
        low, size = box(points)
        for other, (_, theirs) in enumerate(persons):
            if other != number:  # another's pose in the same box
                start, length = box(theirs)
                placed = (theirs - start) / length * size + low
                chance.append(np.nan_to_num(right(placed, points)))
    share = [float(np.concatenate(one).mean()) for one in (hits, of_found, chance)]
    print(
        f"{len(images)} photographs, {len(persons)} people, {sum(map(len, hits))} key points: "
        f"PCK@{REACH} {share[0]:.3f} (another's pose in the same box: {share[2]:.3f})"
    )
    print(f"{len(of_found)} of {len(persons)} people found, PCK@{REACH} of these {share[1]:.3f}")


if __name__ == "__main__":
    main()
