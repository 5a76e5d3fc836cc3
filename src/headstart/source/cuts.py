"""Cuts: where the forward pass of a network can be divided into a prefix and a tail.

The forward pass is traced once (torch.fx). A value is a *cut* when nothing computed before it is used after it: the
network is then exactly `tail(prefix(x))`. The last cut of each stage is offered under the stage's name, so a frozen
prefix can be computed once and kept, and only the tail is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn


class Pooled(nn.Module):
    """A trunk that keeps timm's contract, as one module from pictures to pooled features."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, D)."""
        trunk: Any = self.trunk
        pooled: torch.Tensor = trunk.forward_head(trunk.forward_features(x), pre_logits=True)
        return pooled


@dataclass(frozen=True)
class Traced:
    """A traced network.

    Args:
        root: the network; the modules made here share its parameters.
        graph: of its forward pass in evaluation mode.
        cuts: stage -> name of the node after which it ends, from input to output.
    """

    root: Pooled
    graph: fx.Graph
    cuts: dict[str, str]

    def with_stages(self, stages: tuple[str, ...]) -> nn.Module:
        """(B, 3, S, S) to (pooled, *stages): all of them in one pass.

        Raises:
            KeyError: there is no such stage.
        """
        graph = fx.Graph()
        copied: dict[fx.Node, fx.Node] = {}
        last = graph.graph_copy(self.graph, copied)
        by_name = {node.name: copy for node, copy in copied.items()}
        graph.output((last, *(by_name[self.cuts[stage]] for stage in stages)))
        return _module(self.root, graph)

    def after(self, stage: str) -> nn.Module:
        """The tail: the values at the end of `stage` to pooled features (B, D); parameters keep their names.

        Raises:
            KeyError: there is no such stage.
        """
        graph = fx.Graph()
        copied: dict[fx.Node, fx.Node] = {}
        begun = False
        for node in self.graph.nodes:
            if node.name == self.cuts[stage]:
                copied[node] = graph.placeholder("cut")
                begun = True
            elif begun or node.op == "get_attr":
                copied[node] = graph.node_copy(node, lambda n: copied[n])
        return _module(self.root, graph)


class _Tracer(fx.Tracer):
    """Layers of torch, those of transformers, batch norm, and those that timm says cannot be traced, are taken whole.

    Batch norm of whatever library, because what it does depends on its mode, which a graph of its operations fixes.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, nn.modules.batchnorm._BatchNorm) or type(m).__module__.startswith("transformers."):
            return True
        try:
            from timm.models._features_fx import get_notrace_modules

            if type(m) in get_notrace_modules():  # type: ignore[no-untyped-call]
                return True
        except ImportError:
            pass
        return super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module) -> Traced | None:
    """Trace a network that keeps timm's contract; None where its forward pass cannot be traced (it depends on values).

    The graph is that of evaluation mode: drop path is gone. Batch norm stands in it as a layer that keeps its mode.
    """
    root = Pooled(module).eval()
    try:
        graph = _module(root, _Tracer().trace(root)).graph
    except (
        Exception
    ):  # tracing runs the model's own Python with stand-ins, which fails in as many ways as there are models
        return None
    nodes = list(graph.nodes)
    last_use = {node: max((nodes.index(user) for user in node.users), default=-1) for node in nodes}
    cuts: dict[str, str] = {}
    live: set[fx.Node] = set()
    for position, node in enumerate(nodes):
        live = {other for other in live if last_use[other] > position}
        if node.op not in ("get_attr", "output") and last_use[node] > position:
            live.add(node)
        if live == {node} and node.op != "placeholder" and (stage := _stage(node, module)):
            cuts[stage] = node.name
    # A stage without parameters after which nothing is learned (pooling, dropout) is no place to cut.
    useful = {name: at for name, at in cuts.items() if _has_parameters(module, name)}
    return Traced(root, graph, dict(list(useful.items())[:-1]))


def _module(root: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """The graph as a module that shares the parameters of `root`, without what nothing uses."""
    module = fx.GraphModule(root, graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    return module


def _stage(node: fx.Node, module: nn.Module) -> str:
    """The child of the network that computes `node`; of a sequence of blocks, the block."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [path[0] if isinstance(path, tuple) else path for path in stack.values()]
    inside = [name for name in [*stack.keys(), *names, str(node.target)] if str(name).startswith("trunk.")]
    if not inside:
        return ""
    parts = max((str(name) for name in inside), key=len).split(".")[1:]
    child = module.get_submodule(parts[0])
    blocks = isinstance(child, nn.Sequential | nn.ModuleList) and len(parts) > 1
    return ".".join(parts[:2]) if blocks else parts[0]


def _has_parameters(module: nn.Module, name: str) -> bool:
    return any(True for _ in module.get_submodule(name).parameters())
