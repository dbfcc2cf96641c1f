"""Changing a PyTorch model for a while: every edit is a context manager that puts back what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import nn

Edit = Callable[[], AbstractContextManager[None]]
Change = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def changed(tensor: torch.Tensor, change: Change) -> Iterator[None]:
    """Give a tensor of the model other values of the same shape."""
    old = tensor.detach().clone()
    with torch.no_grad():
        tensor.copy_(change(old))
        try:
            yield
        finally:
            tensor.copy_(old)


@contextmanager
def exchanged(a: torch.Tensor, b: torch.Tensor) -> Iterator[None]:
    """Exchange the values of two tensors."""
    one, other = a.detach().clone(), b.detach().clone()
    with changed(a, lambda _: other), changed(b, lambda _: one):
        yield


@contextmanager
def attribute(owner: object, name: str, new: object) -> Iterator[None]:
    """Give an attribute, or a submodule, another value."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, old)


@contextmanager
def hooked(module: nn.Module, before: Change, after: Change) -> Iterator[None]:
    """Change what goes into a module and what comes out."""
    first = module.register_forward_pre_hook(lambda _, args: (before(args[0]), *args[1:]))
    last = module.register_forward_hook(lambda _, __, out: after(out))
    try:
        yield
    finally:
        first.remove()
        last.remove()


@contextmanager
def together(*edits: Edit) -> Iterator[None]:
    """Make several edits at once."""
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(edit())
        yield


@contextmanager
def symmetric(model: nn.Module, name: str) -> Iterator[None]:
    """Give a convolution PyTorch's usual padding in place of TensorFlow's SAME."""
    conv = model.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        padding=(conv.kernel_size[0] - 1) // 2,
        groups=conv.groups,
        bias=False,
        device="meta",
    )
    plain.weight = conv.weight
    parent, _, leaf = name.rpartition(".")
    with attribute(model.get_submodule(parent), leaf, plain):
        yield


def tf32(tensor: torch.Tensor) -> torch.Tensor:
    """Round to TF32 as the hardware does: 10 bits of mantissa, ties away from zero."""
    words = tensor.float().view(torch.int32)
    return ((words + 0x1000) & ~0x1FFF).view(torch.float32).double()


@contextmanager
def in_tf32(block: nn.Module) -> Iterator[None]:
    """Round both operands of every convolution of a block to TF32."""
    with ExitStack() as stack:
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d):
                stack.enter_context(changed(conv.weight, tf32))
                stack.enter_context(hooked(conv, tf32, lambda out: out))
        yield


@contextmanager
def narrowed(block: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Compute a block in a narrower type."""
    kept = [(tensor, tensor.detach().clone()) for tensor in block.parameters()]
    # Module.to replaces buffers by new tensors; the old ones go back, for other edits refer to them.
    buffers = [(module, dict(module.named_buffers(recurse=False))) for module in block.modules()]
    block.to(dtype)
    try:
        with hooked(block, lambda x: x.to(dtype), lambda out: out.double()):
            yield
    finally:
        block.double()
        for module, old in buffers:
            for name, tensor in old.items():
                module.register_buffer(name, tensor)
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)
