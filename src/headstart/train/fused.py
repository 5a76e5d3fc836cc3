"""Convolutions as training on a CPU should run them: with the frozen batch norm and ReLU after them in one step.

Eager torch reads and writes every value of a network three times where a convolution, batch norm and ReLU follow each
other, and once more for each on the way back. While batch norm's statistics are frozen it is a scale and a shift, which
can be part of the convolution's weights:

    norm(conv(x; W)) = conv(x; s W) + t,    s = gamma / sqrt(var + eps),    t = beta - s mean

Gradients of W, gamma and beta follow from those of `s W` and `t` by the chain rule. ReLU and ReLU6 are then done in
place: what they let through can be told from their result.

The gradient of the weights of a depthwise convolution is taken a few columns at a time: oneDNN has a fast kernel for
three columns and one that is up to 25 times slower for more.

It computes what torch computes, up to rounding. Parameters keep their names and are trained where they are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from headstart import machine
from headstart.source import cuts

SAME = "Conv2dSame"  # the name of timm's convolution that pads as TensorFlow does
COLUMNS = 3  # of a depthwise kernel, that oneDNN has a fast gradient for
_REACH: dict[type, float] = {nn.ReLU: math.inf, nn.ReLU6: 6.0}


@contextmanager
def fused(module: nn.Module, *, frozen: bool) -> Iterator[int]:
    """The convolutions of `module` run fused inside the block; on other devices than a CPU nothing changes.

    Args:
        module: a classifier over a network that keeps timm's contract, or over the tail of one.
        frozen: batch norm uses its running statistics all the while; else only the gradients of depthwise
            convolutions are taken another way.

    Yields:
        How many convolutions were changed.
    """
    device = next((p.device.type for p in module.parameters()), "cpu")
    if device != "cpu" or not any(map(_known, module.modules())):
        yield 0
        return
    norms: dict[Any, Any] = dict(_pairs(module)) if frozen else {}
    changed: list[Any] = []
    try:
        for child in list(module.modules()):
            norm = norms.get(child)
            if _known(child) and (norm is not None or _wide(child)):
                child.__dict__["fused_norm"] = norm if norm is None else (norm,)  # a tuple: it is no child of its own
                child.__class__ = _with(_Convolution, type(child))  # type: ignore[arg-type]
                changed.append(child)
                if norm is not None:
                    norm.__dict__["fused_conv"] = (child,)
                    norm.__class__ = _with(_Norm, type(norm))  # type: ignore[arg-type]
                    changed.append(norm)
        yield sum(isinstance(child, _Convolution) for child in changed)
    finally:
        for child in changed:
            child.__class__ = type(child).__mro__[2]
            child.__dict__.pop("fused_norm", None)
            child.__dict__.pop("fused_conv", None)


@functools.cache
def _with(mixin: Any, kind: Any) -> type:
    """A class of layers with another forward pass; instances can be deep-copied, as their own are."""
    return type(f"Fused{kind.__name__}", (mixin, kind), {"same": kind.__name__ == SAME})


def _known(layer: Any) -> bool:
    """Whether it is a convolution whose forward pass is known: torch's, or timm's with padding as TensorFlow has it."""
    kind = type(layer)
    if not (kind is nn.Conv2d or (kind.__name__ == SAME and kind.__module__.startswith("timm."))):
        return False
    return layer.padding_mode == "zeros" and isinstance(layer.padding, tuple)


def _wide(layer: Any) -> bool:
    """Whether a convolution is depthwise with a kernel that torch has only a slow gradient for."""
    depthwise = layer.groups == layer.in_channels == layer.out_channels > 1
    return depthwise and layer.kernel_size[1] > COLUMNS and layer.dilation == (1, 1) and _avx512()


@functools.cache
def _avx512() -> bool:
    """With less than AVX-512 the other kernel is hardly slower."""
    return "avx512f" in machine.features().split()


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Convolutions with the batch norm that is all that uses their output."""
    for root, graph in _graphs(module):
        uses: dict[str, int] = {}
        for node in graph.nodes:
            if node.op == "call_module":
                uses[str(node.target)] = uses.get(str(node.target), 0) + 1
        for node in graph.nodes:
            given = node.args[0] if node.op == "call_module" and node.args else None
            if not isinstance(given, fx.Node) or given.op != "call_module" or len(given.users) != 1:
                continue
            if uses[str(node.target)] != 1 or uses[str(given.target)] != 1:
                continue
            conv, norm = root.get_submodule(str(given.target)), root.get_submodule(str(node.target))
            # What a hook is to see is what a convolution alone computes.
            if _known(conv) and _plain(norm) and not conv._forward_hooks:
                yield conv, norm


def _graphs(module: nn.Module) -> Iterator[tuple[nn.Module, fx.Graph]]:
    """The graphs of the networks in a module."""
    for child in module.children():
        if isinstance(child, fx.GraphModule):
            yield child, child.graph
        elif hasattr(child, "forward_features") and hasattr(child, "forward_head"):
            modes = [(each, each.training) for each in child.modules()]
            traced = cuts.trace(child)
            for each, training in modes:
                each.training = training
            if traced is not None:
                yield traced.root, traced.graph
        else:
            yield from _graphs(child)


def _plain(norm: nn.Module) -> bool:
    """Whether a layer is batch norm, alone or with an activation as timm has it, and with statistics."""
    if type(norm).__name__ == "BatchNormAct2d":
        return type(norm.drop) is nn.Identity and norm.running_var is not None
    return type(norm) is nn.BatchNorm2d and norm.running_var is not None


def _reach(norm: Any) -> float | None:
    """The largest value that the activation of a batch norm lets through; None: it has no activation, or another."""
    return _REACH.get(type(getattr(norm, "act", norm)))


class _Norm(nn.Module):
    """Batch norm whose convolution has done its work; what else it does is left."""

    fused_conv: tuple[Any]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W)."""
        this: Any = self
        if not _fuses(self.fused_conv[0], this):
            return super().forward(x)  # type: ignore[no-any-return]
        return x if _reach(this) is not None or not hasattr(this, "act") else this.act(x)


class _Convolution(nn.Module):
    """A convolution that runs as this module says."""

    fused_norm: tuple[Any] | None
    same: bool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W)."""
        this: Any = self
        norm = None if self.fused_norm is None else self.fused_norm[0]
        weight, bias, most = this.weight, this.bias, None
        if norm is not None and _fuses(this, norm):
            scale = torch.rsqrt(norm.running_var + norm.eps)
            scale = scale if norm.weight is None else norm.weight * scale
            shift = -norm.running_mean * scale
            shift = shift if norm.bias is None else norm.bias + shift
            weight, bias = weight * scale[:, None, None, None], shift if bias is None else shift + bias * scale
            most = _reach(norm)
        elif not (_wide(this) and weight.requires_grad):
            return super().forward(x)  # type: ignore[no-any-return]
        if this.same:
            from timm.layers.padding import pad_same

            x = pad_same(x, this.kernel_size, this.stride, this.dilation)
        padding = (0, 0) if this.same else this.padding
        return _Step.apply(x, weight, bias, this.stride, padding, this.dilation, this.groups, most)  # type: ignore[no-any-return]


def _fuses(conv: Any, norm: Any) -> bool:
    """Whether the two run as one: not where only the norm is trained, which needs no gradient of the weights."""
    if norm.training or norm.running_var is None:
        return False
    trained = any(p is not None and p.requires_grad for p in (norm.weight, norm.bias))
    return bool(conv.weight.requires_grad or not trained or not torch.is_grad_enabled())


class _Step(torch.autograd.Function):
    """A convolution and a clamp to 0 and `most`: (B, C, H, W) to (B, C', H', W'). No clamp where `most` is None."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        """The convolution's arguments as torch takes them, and `most`."""
        x, weight, bias, stride, padding, dilation, groups, most = given
        y = torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
        if most is not None:
            y.clamp_(0.0, most)
        ctx.save_for_backward(x, weight, None if most is None else y)
        ctx.how = (stride, padding, dilation, groups, most, bias is not None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        """Of inputs, weights and bias."""
        x, weight, y = ctx.saved_tensors
        stride, padding, dilation, groups, most, biased = ctx.how
        if most is not None:
            g = torch.ops.aten.hardtanh_backward(g, y, 0.0, most)
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        columns = for_weight and weight.shape[1] == 1 and weight.shape[3] > COLUMNS and dilation == (1, 1) and _avx512()

        def gradients(x: Any, weight: Any, padding: Any, wanted: list[bool]) -> Any:
            sizes = [weight.shape[0]] if biased else None
            return torch.ops.aten.convolution_backward(
                g, x, weight, sizes, stride, padding, dilation, False, [0, 0], groups, wanted
            )

        own = [for_x, for_weight and not columns, for_bias and not columns]
        of_x, of_weight, of_bias = gradients(x, weight, padding, own) if any(own) else (None, None, None)
        if columns:
            # Padded on both sides first, so that every part of the kernel meets the same outputs.
            wide = functional.pad(x, (padding[1], padding[1])) if padding[1] else x
            last = x.is_contiguous(memory_format=torch.channels_last)
            layout = torch.channels_last if last else torch.contiguous_format
            of_weight, reach = torch.empty_like(weight), (g.shape[3] - 1) * stride[1]
            for k in range(0, weight.shape[3], COLUMNS):
                part = weight[..., k : k + COLUMNS]
                seen = wide[..., k : k + reach + part.shape[3]].contiguous(memory_format=layout)
                _, of_part, summed = gradients(seen, part, (padding[0], 0), [False, True, for_bias and not k])
                of_weight[..., k : k + COLUMNS] = of_part
                of_bias = summed if not k else of_bias
        return of_x, of_weight, of_bias, None, None, None, None, None
