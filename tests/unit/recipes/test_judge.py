"""The judge's targets say all of a scene, and reading them gives it back."""

import numpy as np
import pytest
import torch

from graftwerk.blocks.captions import facts_of
from graftwerk.blocks.geometry import project, view_of
from graftwerk.blocks.networks import Grids, read_grids
from graftwerk.blocks.sampling import sample_scene
from graftwerk.blocks.scene import COLOURS, GROUNDS, KINDS, TIMES
from graftwerk.recipes.judge import heat_loss, targets_of

CONFIG = {"kinds": KINDS, "colours": COLOURS, "grounds": GROUNDS, "times": TIMES}
SIDE = 32


def middles(scene):
    view = view_of(scene.camera, 1, 1)
    points = np.array([(thing.x, thing.size / 2, thing.z) for thing in scene.objects])
    return project(view, points)[:, :2]


def perfect_grids(scene):
    """What a judge that is always right says."""
    location = torch.zeros(1, 4, 2)
    count = len(scene.objects)
    location[0, :count] = torch.from_numpy(middles(scene))
    targets = targets_of(location, torch.arange(4)[None] < count, (SIDE, SIDE))
    kinds = torch.tensor([KINDS.index(thing.kind) for thing in scene.objects])
    colours = torch.tensor([COLOURS.index(thing.colour) for thing in scene.objects])

    def maps(names, labels):
        found = torch.nn.functional.one_hot(labels[targets.nearest[0]], len(names))
        return found.permute(2, 0, 1)[None].float()

    return Grids(
        heat=torch.logit(
            targets.heat.where(~targets.middle, targets.heat + 0.5).clamp(0.001, 0.999)
        ),
        shift=targets.shift,
        kind=maps(KINDS, kinds),
        colour=maps(COLOURS, colours),
        ground=torch.eye(4)[GROUNDS.index(scene.ground)][None],
        time=torch.eye(3)[TIMES.index(scene.time)][None],
        summary=torch.zeros(1, 8),
    )


@pytest.mark.parametrize("first", [0, 50, 100])
def test_reading_perfect_grids_gives_the_scene(first):
    for number in range(first, first + 50):
        scene = sample_scene(6, number)
        (predicted,) = read_grids(perfect_grids(scene), CONFIG)
        facts = facts_of(scene)
        assert (predicted.ground, predicted.time) == (facts.ground, facts.time)
        names = [(seen.kind, seen.colour) for seen in predicted.objects]
        assert names == [(thing.kind, thing.colour) for thing in facts.objects]
        locations = [(seen.x, seen.y) for seen in predicted.objects]
        np.testing.assert_allclose(locations, middles(scene), atol=1e-4)


def test_targets_by_hand():
    location = torch.tensor([[[0.5625, 0.3125], [0.9, 0.9]]])  # the middle of column 4, row 2 of 8
    targets = targets_of(location, torch.tensor([[True, False]]), (8, 8))
    assert targets.middle.nonzero().tolist() == [[0, 2, 4]]
    assert targets.heat[0, 2, 4] == 1
    assert targets.heat[0, 2, 5] == pytest.approx(np.exp(-1 / (2 * 0.8**2)), rel=1e-5)
    assert targets.shift[0, :, 3, 4].tolist() == [0, -1]
    assert int(targets.labelled.sum()) == 9


def test_no_object_at_all():
    targets = targets_of(torch.zeros(1, 4, 2), torch.zeros(1, 4, dtype=torch.bool), (8, 8))
    assert not targets.middle.any() and not targets.labelled.any() and not targets.heat.any()
    assert torch.isfinite(heat_loss(torch.zeros(1, 8, 8), targets))


def test_the_heat_loss_is_least_where_it_should_be():
    targets = targets_of(torch.tensor([[[0.3, 0.6]]]), torch.tensor([[True]]), (8, 8))
    right = torch.where(targets.middle, 6.0, -6.0)
    for wrong in (-right, torch.zeros_like(right), right.roll(1, dims=2)):
        assert heat_loss(right, targets) < 0.1 * heat_loss(wrong, targets)
