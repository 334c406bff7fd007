import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import networks

from graftwerk.adapters.lora import Rank, install, load, load_several
from graftwerk.errors import BadFile, BadInput, Damaged, WrongBase

pytestmark = pytest.mark.usefixtures("one_thread")

RANK = Rank(2)


def learned(network, rank=RANK, seed=3, base="base"):
    """A steer that does something."""
    generator = torch.Generator().manual_seed(seed)
    steer = install(network, rank, generator, base)
    with torch.no_grad():
        for parameter in steer.parameters().values():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return steer


@pytest.fixture
def saved(tmp_path):
    """A network, and a folder with a steer of it."""
    network = networks.make("bert")
    steer = learned(network)
    steer.save(tmp_path / "adapter", "fake/bert", {"note": "kept"})
    steer.remove()
    return network, tmp_path / "adapter"


@pytest.mark.parametrize("family", networks.FAMILIES)
class TestEveryFamily:
    def test_newborn_it_changes_nothing_and_learned_it_does(self, family):
        network = networks.make(family)
        before = networks.run(family, network)
        steer = install(network, Rank(2), torch.Generator().manual_seed(0))
        assert steer.is_zero
        assert torch.equal(networks.run(family, network), before)
        steer.remove()
        steer = learned(network)
        assert not torch.equal(networks.run(family, network), before)
        steer.scale = 0.0
        assert torch.equal(networks.run(family, network), before)

    def test_removed_it_leaves_the_very_modules(self, family):
        network = networks.make(family)
        modules, weights = dict(network.named_modules()), networks.hash_of(network)
        learned(network).remove()
        after = dict(network.named_modules())
        assert after.keys() == modules.keys()
        assert all(after[name] is module for name, module in modules.items())
        assert networks.hash_of(network) == weights
        assert not hasattr(network, "peft_config")

    def test_merged_it_computes_the_same_and_unmerged_the_bytes_are_back(self, family):
        network = networks.make(family).double()
        modules, weights = dict(network.named_modules()), networks.hash_of(network)
        steer = learned(network)
        steered = networks.run(family, network)
        steer.merge()
        assert all(dict(network.named_modules())[name] is m for name, m in modules.items())
        # sums in another order, through a network that magnifies their last bits 100,000 times
        torch.testing.assert_close(networks.run(family, network), steered, rtol=1e-8, atol=1e-8)
        steer.unmerge()
        assert torch.equal(networks.run(family, network), steered)
        steer.remove()
        assert networks.hash_of(network) == weights

    def test_it_comes_back_from_disk_bit_for_bit(self, family, tmp_path):
        network = networks.make(family)
        steer = learned(network)
        steered = networks.run(family, network)
        steer.save(tmp_path / "adapter", "fake/name", {})
        steer.remove()
        load(tmp_path / "adapter", network, "fake/name", "base")
        assert torch.equal(networks.run(family, network), steered)

    @pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
    def test_peft_opens_the_folder_as_it_is(self, family, tmp_path):
        from peft import PeftModel

        network = networks.make(family)
        steer = learned(network)
        steered = networks.run(family, network)
        steer.save(tmp_path / "adapter", "fake/name", {})
        opened = PeftModel.from_pretrained(networks.make(family), str(tmp_path / "adapter"))
        # bit for bit but for PatchTST, which sums in another order there
        torch.testing.assert_close(networks.run(family, opened), steered, rtol=1e-4, atol=1e-4)


def test_a_comes_from_the_given_generator_alone():
    network = networks.make("bert")
    outside = torch.get_rng_state()
    first = learned(network)
    values = {name: p.clone() for name, p in first.parameters().items()}
    first.remove()
    assert torch.equal(torch.get_rng_state(), outside)
    second = learned(network)
    assert all(torch.equal(values[name], p) for name, p in second.parameters().items())
    second.remove()
    third = learned(network, seed=4)
    assert not any(torch.equal(values[name], p) for name, p in third.parameters().items())


def test_only_the_pairs_learn_and_removing_gives_the_others_back():
    network = networks.bert()
    steer = install(network, Rank(2), torch.Generator())
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert len(trained) == len(steer.parameters()) == 24
    steer.remove()
    assert all(p.requires_grad for p in network.parameters())


def test_gradients_reach_every_pair():
    network = networks.make("llama")
    steer = learned(network)
    network(**networks.FAMILIES["llama"][1]()).logits.square().mean().backward()
    assert all(bool(p.grad.any()) for p in steer.parameters().values())


def test_at_scale_0_nothing_is_multiplied():
    """0 times infinity would be no number."""
    network = networks.make("bert")
    before = networks.run("bert", network)
    steer = learned(network)
    with torch.no_grad():
        next(iter(steer.parameters().values())).fill_(torch.inf)
    steer.scale = 0.0
    assert torch.equal(networks.run("bert", network), before)


def test_half_the_scale_is_half_the_change_of_a_linear_layer():
    network = networks.make("bert")
    steer = learned(network, Rank(2, targets=("pooler.dense",)))
    inputs = torch.ones(1, 16)
    frozen = steer.remove().pooler.dense(inputs)
    steer.install()
    whole = network.pooler.dense(inputs) - frozen
    steer.scale = 0.5
    torch.testing.assert_close(network.pooler.dense(inputs) - frozen, whole / 2)


def test_alpha_scales_as_the_paper_says():
    network = networks.make("bert")
    steer = learned(network, Rank(4, alpha=2.0, targets=("pooler.dense",)))
    pair = [p.detach() for p in steer.parameters().values()]
    inputs = torch.ones(1, 16)
    changed = network.pooler.dense(inputs)
    frozen = steer.remove().pooler.dense(inputs)
    torch.testing.assert_close(changed - frozen, 2 / 4 * inputs @ pair[0].T @ pair[1].T)


def test_dropout_draws_from_the_generator_and_only_while_there_is_one():
    network = networks.make("bert")
    plain = networks.run("bert", network)
    steer = learned(network, Rank(2, dropout=0.5))
    quiet = networks.run("bert", network)
    assert not torch.equal(quiet, plain)

    def drawn(seed):
        steer.drop_with(torch.Generator().manual_seed(seed))
        return networks.run("bert", network)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    steer.drop_with(None)
    assert torch.equal(networks.run("bert", network), quiet)


def test_several_add_up(tmp_path):
    network = networks.make("bert")
    for name, seed, rank in (("one", 1, Rank(2)), ("two", 2, Rank(3, targets=("query", "dense")))):
        steer = learned(network, rank, seed)
        steer.save(tmp_path / name, "fake/bert", {})
        steer.remove()
    one, two = tmp_path / "one", tmp_path / "two"
    both = load_several([(one, 0.5), (two, 2.0)], network, "fake/bert", "base")
    together = networks.run("bert", network)
    both.remove()
    # the same by adding to the weights, one after the other
    first = load(one, network, "fake/bert", "base")
    first.scale = 0.5
    first.merge()
    second = load(two, network, "fake/bert", "base")
    second.scale = 2.0
    torch.testing.assert_close(networks.run("bert", network), together, rtol=1e-4, atol=1e-4)
    second.remove()
    first.remove()
    # a joined one has layers of different ranks, and is saved like any other
    both.save(tmp_path / "both", "fake/bert", {})
    load(tmp_path / "both", network, "fake/bert", "base")
    assert torch.equal(networks.run("bert", network), together)


class TestRefusals:
    def test_another_base_is_named_with_this_one(self, saved):
        network, folder = saved
        with pytest.raises(WrongBase, match=r"fake/bert .*base.* not on fake/new .*changed"):
            load(folder, network, "fake/new", "changed")

    def test_a_network_with_none_of_the_layers(self, saved):
        _, folder = saved
        with pytest.raises(BadFile, match=r"none of the 12 layers .* is in fake/llama"):
            load(folder, networks.make("llama"), "fake/llama", "base")

    def test_a_network_with_some_of_the_layers(self, saved):
        network, folder = saved
        network.encoder.layer = network.encoder.layer[:1]
        before = networks.hash_of(network)
        with pytest.raises(BadFile, match="only 6 of the 12 layers"):
            load(folder, network, "fake/bert", "base")
        assert networks.hash_of(network) == before

    def test_layers_of_another_width(self, saved):
        network, folder = saved
        network.encoder.layer[0].attention.self.query = torch.nn.Linear(16, 8)
        with pytest.raises(BadFile, match="16 to 16 values; in fake/bert it has 16 to 8"):
            load(folder, network, "fake/bert", "base")

    def test_values_that_are_no_numbers(self, saved):
        network, folder = saved
        (folder / "graft.json").unlink()  # whose hashes would tell it first
        tensors = load_file(folder / "adapter_model.safetensors")
        next(iter(tensors.values()))[0, 0] = torch.nan
        save_file(tensors, folder / "adapter_model.safetensors")
        with pytest.raises(Damaged, match="not numbers"):
            load(folder, network, "fake/bert", "base")

    def test_a_changed_file(self, saved):
        network, folder = saved
        path = folder / "adapter_model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(Damaged, match="does not match its hash"):
            load(folder, network, "fake/bert", "base")

    def test_a_cut_file(self, saved):
        network, folder = saved
        (folder / "graft.json").unlink()
        path = folder / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(Damaged, match="is damaged"):
            load(folder, network, "fake/bert", "base")

    def test_a_pickle(self, saved):
        network, folder = saved
        (folder / "graft.json").unlink()
        shutil.move(folder / "adapter_model.safetensors", folder / "adapter_model.bin")
        with pytest.raises(BadFile, match="can run code"):
            load(folder, network, "fake/bert", "base")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"use_dora": True}, "use_dora"),
            ({"bias": "all"}, "bias"),
            ({"modules_to_save": ["pooler"]}, "modules_to_save"),
            ({"peft_type": "IA3"}, "not of a LoRA adapter"),
            ({"lora_alpha": "many"}, "alpha that is not a number"),
        ],
    )
    def test_what_is_no_plain_low_rank_adapter(self, saved, changes, message):
        network, folder = saved
        (folder / "graft.json").unlink()
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        with pytest.raises(BadFile, match=message):
            load(folder, network, "fake/bert", "base")

    def test_numbers_out_of_range(self):
        for wrong in ({"rank": 0}, {"alpha": 0.0}, {"alpha": float("nan")}, {"dropout": 1.0}):
            with pytest.raises(BadInput, match=next(iter(wrong))):
                Rank(**wrong)
        steer = learned(networks.make("bert"))
        with pytest.raises(BadInput, match=r"scale .* is not valid: it must be a finite number"):
            steer.scale = float("inf")

    def test_scaling_what_is_merged(self):
        steer = learned(networks.make("bert"))
        steer.merge()
        with pytest.raises(BadInput, match="Unmerge it first"):
            steer.scale = 0.5


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_an_adapter_that_peft_made_loads_here(tmp_path):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4,
        lora_alpha=3,
        use_rslora=True,
        target_modules=["query", "value"],
        init_lora_weights=False,
        alpha_pattern={"layer.1.attention.self.value": 5},
        rank_pattern={"value": 2},
    )
    theirs = get_peft_model(networks.make("bert"), config)
    requested = networks.run("bert", theirs)
    theirs.save_pretrained(tmp_path)
    network = networks.make("bert")
    load(tmp_path, network, "fake/bert", "unknown")
    assert torch.equal(networks.run("bert", network), requested)
