import pytest
from tests import networks
from torch import nn

from graftwerk.adapters.lora_targets import find_targets, named_targets
from graftwerk.errors import BadInput

# What counts as a projection of attention or of an MLP, read off each architecture by hand.
EXPECTED = {
    "vit": (12, {"q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"}),
    "clip": (24, {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}),
    "bert": (12, {"query", "key", "value", "dense"}),
    "llama": (
        14,
        {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    ),
    "gpt2": (8, {"c_attn", "c_proj", "c_fc"}),
    "unet": (48, {"to_q", "to_k", "to_v", "0", "proj", "2", "proj_in", "proj_out"}),
    "patchtst": (12, {"q_proj", "k_proj", "v_proj", "out_proj", "0", "3"}),
    "segformer": (24, {"q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"}),
    "resnet": (7, {"convolution"}),
}


def test_every_family_is_asked():
    assert EXPECTED.keys() == networks.FAMILIES.keys()


@pytest.mark.parametrize("family", EXPECTED)
def test_projections_are_found_by_structure(family):
    found = find_targets(networks.FAMILIES[family][0]())
    assert (len(found), {path.rpartition(".")[2] for path in found}) == EXPECTED[family]


def test_what_brings_the_time_into_a_convolutional_block_is_left_alone():
    paths = find_targets(networks.pipelines.tiny_unet())
    assert not [path for path in paths if "time" in path or "shortcut" in path]


def test_attention_that_reads_weights_without_calling_its_layers_is_left_alone():
    block = nn.Module()
    block.attention = nn.MultiheadAttention(8, 2)
    block.linear = nn.Linear(8, 8)
    network = nn.Module()
    network.blocks = nn.ModuleList([block])
    assert find_targets(network) == ("blocks.0.linear",)


def test_a_network_without_blocks_is_refused():
    with pytest.raises(BadInput, match="no linear layer inside a repeated block"):
        find_targets(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))


def test_named_targets_are_whole_paths_or_their_ends():
    network = networks.bert()
    assert len(named_targets(network, ["query", "attention.self.key"])) == 4
    path = "encoder.layer.1.attention.self.value"
    assert named_targets(network, [path, "value"])[-1] == path
    with pytest.raises(BadInput, match="is named 'q_proj'") as caught:
        named_targets(network, ["q_proj"])
    assert "query, key, value, dense" in str(caught.value)
