"""A small convolutional network that looks at a picture at several scales."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 8  # of channels that are normalised together


class Block(nn.Module):
    """Two convolutions beside a straight way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(_GROUPS, width) for _ in range(2)])
        self.convolutions = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(2)])

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add what the convolutions see."""
        seen = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            seen = convolution(functional.silu(norm(seen)))
        return x + seen


class Pyramid(nn.Module):
    """Down to small maps and up again, each scale joined with the one of its way down.

    Args:
        widths: channels at each scale, multiples of 8; each scale has half the sides of the one
            before.
        stride: of the first convolution; 2 lets the largest maps have half the picture's sides.
        outputs: channels of the result.
    """

    def __init__(self, widths: Sequence[int], stride: int, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, stride=stride, padding=1)
        steps = list(pairwise(widths))
        self.down_blocks = nn.ModuleList([Block(width) for width in widths[:-1]])
        self.down = nn.ModuleList([nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in steps])
        self.middle = nn.Sequential(Block(widths[-1]), Block(widths[-1]))
        self.up = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in steps])
        self.up_blocks = nn.ModuleList([Block(width) for width in widths[:-1]])
        self.norm = nn.GroupNorm(_GROUPS, widths[0])
        self.head = nn.Conv2d(widths[0], outputs, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c y x"], Float[Tensor, "b d"]]:
        """Maps of the largest scale, and the mean of the smallest."""
        x = self.stem(x)
        passed = []
        for block, down in zip(self.down_blocks, self.down, strict=True):
            x = block(x)
            passed.append(x)
            x = down(x)
        x = self.middle(x)
        summary = x.mean(dim=(2, 3))
        for block, up in zip(reversed(self.up_blocks), reversed(self.up), strict=True):
            before = passed.pop()
            x = functional.interpolate(up(x), size=before.shape[-2:]) + before
            x = block(x)
        return self.head(functional.silu(self.norm(x))), summary
