"""The torch modules for the networks of `write_small_networks.py`, and ways to get them wrong."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Factors(nn.Module):
    """Numbers that a network is built with, and that may be stored with its weights."""

    def __init__(self, *, is_weight):
        super().__init__()
        factors = torch.tensor([1.25] * 5 + [1.5]).reshape(6, 1, 1)
        self.register_buffer("factors", factors, persistent=is_weight)

    def forward(self, x):
        """(N, 6, H, W) -> (N, 6, H, W)."""
        return x * self.factors


class Gated(nn.Module):
    """A block that adds what a gate lets through to what it takes."""

    def __init__(self, eps):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12, eps=eps)
        self.reduce, self.expand = nn.Conv2d(12, 2, 1), nn.Conv2d(2, 12, 1)
        self.last, self.last_norm = nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6, eps=eps)

    def forward(self, x):
        """(N, 6, H, W) -> (N, 6, H, W)."""
        y = self.norm(self.conv(x))
        gate = self.expand(functional.relu(self.reduce(y.mean((2, 3), keepdim=True)))).sigmoid()
        return x + self.last_norm(self.last(y * gate))


class Network(nn.Module):
    """One of them; `wrong` says what is wrong with it, or what is written in another way."""

    def __init__(self, name, wrong):
        super().__init__()
        self.wrong = wrong
        getattr(self, f"_{name}")(wrong)
        self.run = getattr(self, name)

    def forward(self, x):
        """(N, 3, 16, 16) -> (N, 5), or two outputs."""
        return self.run(x)

    def classified(self, x):
        """Return classes."""
        return self.head(x.mean((2, 3)))

    def _flat(self, _):
        self.first, self.head = nn.Linear(768, 8), nn.Linear(8, 5)

    def flat(self, x):
        """Flatten the images in PyTorch's order."""
        return self.head(functional.relu(self.first(x.flatten(1))))

    def _one(self, _):
        self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 5)

    _pool_first = _reversed_channels = _one

    def pool_first(self, x):
        """Pool the images, or leave that out."""
        return self.classified(self.conv(x if self.wrong else functional.avg_pool2d(x, 2)))

    def reversed_channels(self, x):
        """Take images whose colours are turned round."""
        return self.classified(self.conv(x))

    def _norm_first(self, wrong):
        self._one(wrong)
        if not wrong:
            self.norm = nn.BatchNorm2d(3, eps=1e-3)

    def norm_first(self, x):
        """Normalise the images, or leave that out."""
        return self.classified(self.conv(x if self.wrong else self.norm(x)))

    def _gated_blocks(self, wrong):
        self._one(wrong)
        self.blocks = nn.ModuleList(Gated(1.0001e-3 if wrong else 1e-3) for _ in range(20))

    def gated_blocks(self, x):
        """Run blocks one behind the other."""
        x = self.conv(x)
        for block in self.blocks:
            x = block(x)
        return self.classified(x)

    def _two_outputs(self, wrong):
        self._one(wrong)
        self.box = nn.Linear(6, 4)

    def two_outputs(self, x):
        """Return classes and a box, in a form of several."""
        x = functional.relu(self.conv(x)).mean((2, 3))
        classes, box = self.head(x), self.box(x)
        forms = {"no sigmoid": (classes, box), "tanh": (classes, box.tanh()), "alone": classes}
        right = {"classes": classes, "box": box.sigmoid()}
        return forms.get(self.wrong, (right["box"], classes) if self.wrong == "turned" else right)

    def _plain(self, wrong):
        self._one(wrong)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        capped = {"capped at 6": nn.ReLU6(), "capped at 20": nn.Hardtanh(0, 20)}
        self.between = capped.get(wrong, nn.ReLU())

    def plain(self, x):
        """Return two convolutions with ReLUs."""
        return self.classified(functional.relu(self.second(self.between(self.conv(x)))))

    _exported, exported = _plain, plain

    def _dilated(self, wrong):
        length = 1 if wrong else 2
        self.conv = nn.Conv2d(3, 6, 3, padding=length, dilation=length)
        self.depthwise = nn.Conv2d(6, 6, 3, dilation=2, groups=6)
        self.head = nn.Linear(6, 5)

    def dilated(self, x):
        """Dilate both convolutions."""
        return self.classified(functional.relu(self.depthwise(functional.relu(self.conv(x)))))

    def _resized(self, wrong):
        self.conv, self.second = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 6, 3)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=wrong == "corners")
        self.head = nn.Linear(6, 5)

    def resized(self, x):
        """Resize maps, as a U-Net does."""
        return self.classified(self.second(self.up(functional.relu(self.conv(x)))))

    def _groups(self, wrong):
        self._one(wrong)
        self.norm = nn.GroupNorm(2 if wrong == "groups" else 3, 6, eps=1e-3 if wrong == "epsilon" else 1e-5)
        self.second, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6)

    def groups(self, x):
        """Normalise over groups of channels."""
        return self.classified(self.norm2(self.second(functional.relu(self.norm(self.conv(x))))))

    _old_groups, old_groups = _groups, groups

    def _in_groups(self, _):
        self._one(_)
        self.second, self.norm = nn.Conv2d(6, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6, eps=1e-3)

    def in_groups(self, x):
        """Convolve groups of channels."""
        return self.classified(functional.relu(self.norm(self.second(functional.relu(self.conv(x))))))

    def _unbiased(self, wrong):
        has = not wrong
        self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=has), nn.BatchNorm2d(6, eps=1e-3)
        self.up, self.norm2 = (
            nn.ConvTranspose2d(6, 6, 2, 2, bias=has),
            nn.BatchNorm2d(6, eps=1e-3, affine=has),
        )
        self.dense, self.norm3 = nn.Linear(294, 8, bias=has), nn.LayerNorm(8, bias=has)
        self.head = nn.Linear(8, 5, bias=has)

    def unbiased(self, x):
        """Have biases that the source has not, or have none either."""
        x = functional.relu(self.up(self.norm(functional.relu(self.conv(x)))))
        x = self.norm2(functional.max_pool2d(x, 4)).flatten(1)
        return self.head(self.norm3(functional.relu(self.dense(x))))

    def _multiplied(self, _):
        self.conv, self.head = nn.Conv2d(3, 6, 3, groups=3), nn.Linear(6, 5)

    def multiplied(self, x):
        """Make two channels of each."""
        return self.classified(functional.relu(self.conv(x)))

    def _attention(self, wrong):
        self.patch, self.norm, self.norm2 = (
            nn.Conv2d(3, 12, 4, 4),
            nn.LayerNorm(12, 1e-6),
            nn.LayerNorm(12, 1e-6),
        )
        self.up, self.down, self.head = nn.Linear(12, 20), nn.Linear(20, 12), nn.Linear(12, 5)
        self.joined = nn.MultiheadAttention(12, 3, batch_first=True) if wrong == "joined" else None
        if self.joined is None:
            self.query, self.key, self.value, self.out = (nn.Linear(12, 12) for _ in range(4))

    def attention(self, x):
        """Attend over patches, with layers of its own or with PyTorch's module."""
        x = self.patch(x).flatten(2).transpose(1, 2)
        y = self.norm(x)
        if self.joined is not None:
            x = x + self.joined(y, y, y)[0]
        else:
            parts = (f(y).unflatten(2, (3, 4)).transpose(1, 2) for f in (self.query, self.key, self.value))
            x = x + self.out(functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return self.head(self.down(functional.gelu(self.up(self.norm2(x)))).mean(1))

    def _shared(self, _):
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, eps=1e-3)
        self.head = nn.Linear(3, 5)

    def shared(self, x):
        """Call both layers twice."""
        for _ in range(2):
            x = self.norm(functional.relu(self.conv(x)))
        return self.classified(x)

    def _grey(self, _):
        self.conv, self.head = nn.Conv2d(1, 6, 3), nn.Linear(6, 5)

    def grey(self, x):
        """Take images of one channel."""
        return self.classified(self.conv(x).tanh())

    def _apart(self, wrong):
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(12, eps=1e-3)
        self.second = nn.Conv2d(6, 12, 3, 2, groups=3)
        self.act = nn.ReLU() if wrong == "uncapped" else nn.ReLU6()
        self.head = nn.Linear(12, 5)

    def apart(self, x):
        """Have one layer for all groups."""
        return self.classified(self.act(self.norm(self.second(functional.relu(self.conv(x))))))

    _apart_turned, apart_turned = _apart, apart

    def _multiplied_maps(self, wrong):
        self._one(wrong)
        self.second = nn.Conv2d(6, 6, 3)

    def multiplied_maps(self, x):
        """Leave the factor out."""
        return self.classified(functional.relu(self.second(functional.relu(self.conv(x)))))

    def _multiplied_channels(self, wrong):
        self._multiplied_maps(wrong)
        self.factors = Factors(is_weight=wrong == "weights") if wrong else nn.Identity()

    def multiplied_channels(self, x):
        """Multiply each channel by its own number."""
        return self.classified(functional.relu(self.second(self.factors(functional.relu(self.conv(x))))))

    def _slopes(self, wrong):
        self.conv, self.dense, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 7), nn.Linear(7, 5)
        self.slope, self.slope2 = nn.ReLU() if wrong else nn.PReLU(6), nn.PReLU(7)

    def slopes(self, x):
        """Take PReLU over pixels and over features."""
        return self.head(self.slope2(self.dense(self.slope(self.conv(x)).mean((2, 3)))))


def build(name, wrong=""):
    """Build the network called `name`."""
    return Network(name, wrong)
