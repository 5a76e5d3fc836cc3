"""Fused convolutions compute what torch computes, forward and backward, and leave the network as it was."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from headstart.budget import Budget
from headstart.source import cuts
from headstart.strategy.network import Classifier
from headstart.strategy.tail import Tail
from headstart.train import Classification, Plan, Trainable, train
from headstart.train import fused as fusing
from headstart.train.fused import fused

pytestmark = pytest.mark.fast

EXACT = 1e-10  # in double precision, relative


@pytest.fixture(autouse=True)
def _columns(monkeypatch):
    """Depthwise gradients by columns, whatever the processor."""
    monkeypatch.setattr(fusing, "_avx512", lambda: True)


def classifier(name):
    """A small network of timm's in double precision, whose batch norm has seen other data than its start says."""
    torch.manual_seed(0)
    trunk = timm.create_model(name, num_classes=0, **NETWORKS[name])
    for child in trunk.modules():
        if isinstance(child, nn.BatchNorm2d):
            for values, low in ((child.running_mean, -0.3), (child.running_var, 0.5), (child.bias, -0.3)):
                nn.init.uniform_(values, low, low + 1)
            nn.init.uniform_(child.weight, 0.5, 1.5)
    return Classifier(trunk, trunk.head_hidden_size, 3).double().eval()


NETWORKS = {
    "tf_efficientnet_lite0": {},
    "resnet10t": {"channels": (8, 8, 16, 16), "stem_width": 8},
    "mobilenetv3_small_050": {},
}
INPUTS, LABELS = torch.linspace(-2, 2, 4 * 3 * 40 * 40).sin().reshape(4, 3, 40, 40), torch.tensor([0, 1, 2, 1])


def gradients(module, inputs=INPUTS):
    """Logits, and the gradient of every parameter that has one."""
    module.zero_grad(set_to_none=True)
    logits = module(inputs.double())
    functional.cross_entropy(logits, LABELS).backward()
    return logits.detach(), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def assert_same(one, other):
    assert one[1].keys() == other[1].keys()
    torch.testing.assert_close(one[0], other[0], rtol=EXACT, atol=EXACT)
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=1e-7, atol=EXACT, msg=name)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_logits_and_all_gradients_are_torchs(name, layout):
    module = classifier(name).to(memory_format=layout)
    plain = gradients(module, INPUTS.contiguous(memory_format=layout))
    with fused(module, frozen=True) as count:
        assert count > 5
        assert_same(plain, gradients(module, INPUTS.contiguous(memory_format=layout)))


def test_every_batch_norm_of_an_efficientnet_is_part_of_a_convolution():
    module = classifier("tf_efficientnet_lite0")
    norms = sum(isinstance(child, nn.BatchNorm2d) for child in module.modules())
    with fused(module, frozen=True) as count:
        assert count == norms


def test_a_tail_after_a_cut():
    module = classifier("tf_efficientnet_lite0")
    traced = cuts.trace(module.trunk)
    tail = Tail(traced.after("blocks.3"), module.trunk.num_features, 3).double()
    values = traced.with_stages(("blocks.3",))(INPUTS.double())[1].detach()
    plain = gradients(tail, values)
    with fused(tail, frozen=True) as count:
        assert count > 3
        assert_same(plain, gradients(tail, values))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(5, 1, 2), (5, 2, 0), (7, 1, 3), (4, 1, 1), (5, 2, 2), (9, 3, 4)]
)
def test_depthwise_gradients_by_columns(kernel, stride, padding):
    torch.manual_seed(kernel)
    layer = nn.Sequential(nn.Conv2d(6, 6, kernel, stride, padding, groups=6), nn.Flatten(), nn.LazyLinear(3)).double()
    inputs = torch.randn(4, 6, 13, 17)
    layer(inputs.double())
    plain = gradients(layer, inputs)
    with fused(layer, frozen=False) as count:
        assert count == 1
        assert_same(plain, gradients(layer, inputs))


def test_only_where_the_statistics_are_frozen():
    module = classifier("resnet10t")
    with fused(module, frozen=False) as count:
        assert count == 0  # of its convolutions none is depthwise
    with fused(module, frozen=True):
        plain = copy.deepcopy(module)
    module.train(), plain.train()
    with fused(module, frozen=True):  # said so, but the layers are in training mode: they take the batch's statistics
        assert_same(gradients(plain), gradients(module))


def test_of_norms_alone_the_gradient_is_taken_the_short_way():
    module = classifier("tf_efficientnet_lite0")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("bn" in name)
    plain = gradients(module)
    assert plain[1]
    with fused(module, frozen=True):
        found = module(INPUTS.double())
        assert_same(plain, gradients(module))
    assert "_StepBackward" not in names(found.grad_fn)


def names(node, seen=None):
    """The names of all steps in a graph."""
    seen = set() if seen is None else seen
    if node is None or node in seen:
        return ""
    seen.add(node)
    return type(node).__name__ + " ".join(names(following, seen) for following, _ in node.next_functions)


def test_the_network_is_as_before_afterwards_even_where_training_failed():
    module = classifier("tf_efficientnet_lite0")
    kinds, state = [type(child) for child in module.modules()], list(module.state_dict())

    def stopped():
        with fused(module, frozen=True) as count:
            assert count
            assert [type(child) for child in module.modules()] != kinds
            assert list(module.state_dict()) == state
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [type(child) for child in module.modules()] == kinds
    assert not any("fused" in key for child in module.modules() for key in vars(child))


def test_a_copy_made_meanwhile_uses_its_own_weights():
    module = classifier("tf_efficientnet_lite0")
    with fused(module, frozen=True):
        other = copy.deepcopy(module)
        before = other(INPUTS.double())
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
        torch.testing.assert_close(other(INPUTS.double()), before)


def test_a_convolution_that_is_watched_is_left_alone():
    module = classifier("resnet10t")
    layer = next(child for child in module.modules() if isinstance(child, nn.Conv2d))
    seen = []
    layer.register_forward_hook(lambda *given: seen.append(given[2].detach()))
    module(INPUTS.double())
    with fused(module, frozen=True) as count:
        module(INPUTS.double())
    assert count
    torch.testing.assert_close(seen[0], seen[1])


def test_what_uses_a_convolution_twice_is_left_alone():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward_features(self, x):
            y = self.conv(x)
            return y + self.norm(y)

        def forward_head(self, x, pre_logits=False):
            return x.mean((2, 3))

    with fused(nn.Sequential(Twice().eval()), frozen=True) as count:
        assert count == 0


def test_training_ends_where_it_ends_without(monkeypatch):
    def trained():
        module = classifier("tf_efficientnet_lite0")
        rows = [(INPUTS.double(), LABELS)]
        how = {"budget": Budget(), "evaluate": None}
        train(module, Classification(), lambda _: iter(rows), 1, Plan(3, 1e-3), Trainable(batch_norm="frozen"), **how)
        return module.state_dict()

    found = trained()
    monkeypatch.setattr(fusing, "_known", lambda layer: False)
    for name, value in trained().items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-8, msg=name)
