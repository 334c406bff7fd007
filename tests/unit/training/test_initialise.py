import torch
from torch import nn

from graftwerk.training.state import initialise


def network():
    return nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.GroupNorm(8, 64), nn.Linear(300, 200), nn.Embedding(50, 40)
    )


def test_the_generator_alone_decides():
    weights = []
    for seed in (1, 1, 2):
        made = network()
        initialise(made, torch.Generator().manual_seed(seed))
        weights.append(made.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["0.weight"], weights[2]["0.weight"])


def test_spread():
    made = network()
    initialise(made, torch.Generator().manual_seed(0))
    conv, norm, linear, table = made
    assert abs(conv.weight.var().item() * 27 * 3 - 1) < 0.1
    assert abs(linear.weight.var().item() * 300 * 3 - 1) < 0.1
    assert abs(table.weight.std().item() - 0.02) < 0.002
    assert not conv.bias.any() and not linear.bias.any()
    assert bool((norm.weight == 1).all()) and not norm.bias.any()
