"""Networks that are on the device only while they run, and compiled ones."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tests import pipelines

import graftwerk as gw
from graftwerk.adapters.lora import Rank, install
from graftwerk.commands.generate import run_generate
from graftwerk.diffusion import pipeline
from graftwerk.diffusion.placement import Placement
from graftwerk.errors import BadInput
from graftwerk.types import Silent

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
GIVEN = {"n": 1, "steps": 3, "seed": 3, "width": 16, "height": 16}
LOOK = Image.radial_gradient("L").resize((16, 16)).convert("RGB")
PARTS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")


class There(str):
    """The name of the device that is not there; PyTorch reads it as the CPU's."""

    __slots__ = ()


class OtherDevice:
    """A device that is not there: its weights are other tensors, and who is on it is written."""

    def __init__(self, monkeypatch, folder):
        self.present, self.moves, self.names, owners = set(), [], {}, {}
        monkeypatch.setattr(pipeline, "Placement", self.place)
        self.pipe = gw.Pipeline(folder, device="cpu")
        frozen = self.pipe.steered.frozen
        for name, network in {**frozen.networks, "vae": frozen.decoder}.items():
            self.names[network] = name
            parts = network.children() if name == "vae" else [network]
            owners |= dict.fromkeys(parts, network)
        for module in owners:  # copies of them, with a LoRA, have owners of their own
            module.register_forward_pre_hook(lambda own, _: self.require(owners.get(own)))

    def place(self, _, **options):
        made = Placement("cuda", **options | {"offload": True}, move=self.move)
        made.device = There("cpu")  # what is computed with
        return made

    def move(self, network, device):
        away = not isinstance(device, There)
        (self.present.discard if away else self.present.add)(network)
        network._apply(lambda tensor: tensor.clone())
        assert not any(weight.is_inference() for weight in network.parameters())
        self.moves.append((self.names.get(network, "adapted"), "back" if away else "there"))

    def require(self, network):
        if network is not None:
            assert network in self.present, f"{self.names[network]} runs where it is not"


def plain(folder):
    """A pipeline whose weights are copies, too: in a file they begin anywhere, which adds up
    differently.
    """
    pipe = gw.Pipeline(folder, device="cpu")
    frozen = pipe.steered.frozen
    for network in (*frozen.networks.values(), frozen.decoder):
        network._apply(lambda tensor: tensor.clone())
    return pipe


@pytest.mark.parametrize(
    "write",
    [
        pipelines.write_text_pipeline,
        pipelines.write_xl_pipeline,
        pipelines.write_sd3_pipeline,
        pipelines.write_flux_pipeline,
    ],
    ids=["1.5", "XL", "SD3", "Flux"],
)
def test_each_network_is_there_while_it_runs_and_alone(monkeypatch, tmp_path, write) -> None:
    folder = write(tmp_path / "pipeline")
    expected = plain(folder).generate("a red cube", init=LOOK, **GIVEN)
    device = OtherDevice(monkeypatch, folder)
    device.moves.clear()
    made = device.pipe.generate("a red cube", init=LOOK, **GIVEN)
    assert torch.equal(made.latents, expected.latents)
    assert np.array_equal(made.images[0], expected.images[0])
    there = [name for name, where in device.moves if where == "there"]
    assert len(device.present) == 1  # the last one, the autoencoder
    assert there[-1] == "vae" and set(there) <= set(PARTS)
    # once for all steps
    assert there.count(device.pipe.steered.frozen.trunk) == 1


def test_adapters_find_the_networks_there(monkeypatch, text_pipeline, tmp_path) -> None:
    base = gw.Pipeline(text_pipeline, device="cpu").steered.frozen
    generator = torch.Generator().manual_seed(4)
    lora = install(base.unet, Rank(2), generator, base.fingerprint)
    with torch.no_grad():
        for weight in lora.parameters().values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    lora.save(tmp_path / "lora", base.name, {}, part="unet")
    lora.remove()
    frozen, device = plain(text_pipeline), OtherDevice(monkeypatch, text_pipeline)
    guide = gw.Guide(lambda images: -images.mean(dim=(1, 2, 3)), 5.0, reads="images")
    for adapter in (gw.Lora(tmp_path / "lora"), guide):
        expected = frozen.with_(adapter).generate("a red cube", **GIVEN)
        found = device.pipe.with_(adapter).generate("a red cube", **GIVEN)
        assert torch.equal(found.latents, expected.latents)
        again = device.pipe.generate("a red cube", **GIVEN)  # the frozen one, in turn
        assert torch.equal(again.latents, frozen.generate("a red cube", **GIVEN).latents)
    assert ("adapted", "there") in device.moves and ("adapted", "back") in device.moves
    # a guide through the decoder records gradients, so the U-Net does not leave in between
    device.moves.clear()
    device.pipe.with_(guide).generate("a red cube", **GIVEN)
    assert device.moves.count(("unet", "there")) == 1
    assert device.present == {device.pipe.steered.frozen.decoder}


def test_on_a_cpu_there_is_nothing_to_offload_to(text_pipeline, tmp_path) -> None:
    with pytest.raises(BadInput, match="nothing to offload to"):
        gw.Pipeline(text_pipeline, device="cpu", offload=True)
    request = gw.Generate(model=text_pipeline, device="cpu", offload=True, out=tmp_path)
    with pytest.raises(BadInput, match="Leave `offload` out"):
        run_generate(request, Silent())


COMPILED = """
import sys

import torch

import graftwerk as gw
from graftwerk.types import Silent

class Telling(Silent):
    def start(self, task, total=None):
        print(task, file=sys.stderr)

if sys.argv[2] == "no compiler":
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none(*_, **__):
        raise InvalidCxxCompiler

    torch._inductor.config.force_disable_caches = True
    cpp_builder.get_cpp_compiler = none
given = {"n": 1, "steps": 3, "seed": 3, "cfg": 1.0}
try:
    made = gw.Pipeline(sys.argv[1], device="cpu", compile=True).generate(
        "a red cube", monitor=Telling(), **given
    )
except gw.GraftError as error:
    raise SystemExit(str(error)) from error
plain = gw.Pipeline(sys.argv[1], device="cpu").generate("a red cube", **given)
images = [torch.tensor(list(one.images[0].tobytes())) for one in (made, plain)]
difference = int((images[0] - images[1]).abs().max())
graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
print(difference, torch.equal(made.latents, plain.latents), graphs)
"""


@pytest.mark.parametrize("compiler", ["compiler", "no compiler"])
def test_a_compiled_network(text_pipeline, compiler) -> None:
    """In a process of its own: the checks of array shapes in tests cannot be compiled."""
    made = subprocess.run(
        [sys.executable, "-c", COMPILED, str(text_pipeline), compiler],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if compiler == "compiler":
        difference, equal, graphs = made.stdout.split()
        assert int(difference) <= 1
        assert "compiling\ngenerating\n" in made.stderr
        assert (equal, graphs) == ("False", "1")  # other kernels; one graph for all steps
    else:
        assert made.returncode == 1
        assert "C++ compiler" in made.stderr and "leave `compile` out" in made.stderr
