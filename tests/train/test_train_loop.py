"""The one loop: gradients, freezing, resuming, stopping, and what it refuses."""

import logging
import math
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from headstart.budget import Budget
from headstart.errors import DivergedError
from headstart.features import Augmentation
from headstart.source.card import Preprocessing
from headstart.target.inputs import ArrayInputs
from headstart.target.view import Examples
from headstart.train import Classification, Pictures, Plan, Trainable, train
from headstart.train.loop import _schedule

pytestmark = pytest.mark.fast


class Net(nn.Module):
    def __init__(self, seed=0, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(dropout))
            self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.trunk(x))


class Plain(nn.Module):
    """No batch norm: the gradient of a mean is the mean of the gradients."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x):
        return self.body(x)


def data(n=48, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=g)
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).long() + (x[:, 2] > 0.8).long()


def batches(size, n=48):
    x, y = data(n)

    def epoch(seed):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
        for part in order.split(size):
            yield x[part], y[part]

    return epoch


def weights_of(module):
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def same(a, b, tolerance=0.0):
    return all(torch.allclose(a[key].double(), b[key].double(), rtol=0, atol=tolerance) for key in a)


ALL = Trainable()


def run(module, plan, *, size=12, n=48, trainable=ALL, budget=None, **more):
    return train(
        module,
        more.pop("task", Classification()),
        more.pop("epoch", batches(size, n)),
        math.ceil(n / size),
        plan,
        trainable,
        budget=budget or Budget(),
        **more,
    )


def test_it_learns():
    module = Net()
    history = run(module, Plan(epochs=40, rate=0.05))
    assert history.losses[-1] < 0.25 * history.losses[0]
    assert history.stopped == "epochs"
    assert not module.training


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_equals_larger_batches(accumulate):
    small, large = Plain(), Plain()
    run(small, Plan(epochs=3, rate=0.01, accumulate=accumulate, clip=1e9), size=48 // 4 // accumulate)
    run(large, Plan(epochs=3, rate=0.01, clip=1e9), size=12)
    assert same(weights_of(small), weights_of(large), 2e-5)
    without = Plain()
    run(without, Plan(epochs=3, rate=0.01, clip=1e9), size=48 // 4 // accumulate)
    assert not same(weights_of(without), weights_of(large), 1e-3), "the tolerance cannot tell them apart"


def test_accumulated_gradients_are_those_of_the_larger_batch(monkeypatch):
    """AdamW hardly notices the scale of a gradient; clipping does, so the gradient itself is compared."""
    seen = []

    def step(self, *args, **kwargs):
        seen.append(torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]]))

    monkeypatch.setattr(torch.optim.AdamW, "step", step)  # nothing moves: every gradient is at the same weights
    for accumulate in (1, 2, 4):
        run(Plain(), Plan(epochs=1, rate=0.01, accumulate=accumulate, clip=1e9), size=12 // accumulate)
    assert len(seen) == 12
    for small in (seen[4:8], seen[8:]):
        torch.testing.assert_close(torch.stack(small), torch.stack(seen[:4]), rtol=1e-4, atol=1e-6)


def test_one_step_by_hand():
    """AdamW's first step is the rate times the sign of the gradient, after decay of matrices only."""
    module, (x, y) = Plain(), data(8)
    before = weights_of(module)
    functional.cross_entropy(module(x), y).backward()
    gradients = {name: p.grad.clone() for name, p in module.named_parameters()}
    module.zero_grad()
    rate, decay = 0.01, 0.3
    plan = Plan(epochs=1, rate=rate, decay=decay, warmup=0.0, clip=1e9)
    train(module, Classification(), lambda seed: iter([(x, y)]), 1, plan, Trainable(), budget=Budget())
    for name, after in module.named_parameters():
        shrunk = before[name] * (1 - rate * decay if after.ndim > 1 else 1)
        by_hand = shrunk - rate * gradients[name] / (gradients[name].abs() + 1e-8)
        torch.testing.assert_close(after.detach(), by_hand, rtol=0, atol=1e-6)


def test_clipping_limits_the_norm_that_the_optimiser_sees(monkeypatch):
    seen = []
    real = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        seen.append(float(torch.stack([g.norm() for g in gradients]).norm()))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(Plain(), Plan(epochs=2, rate=0.01, clip=0.01))
    assert len(seen) == 8
    assert max(seen) == pytest.approx(0.01, rel=1e-3)


def test_the_schedule_by_hand():
    assert _schedule(0.0, 0.1) == pytest.approx(0.01)
    assert _schedule(0.05, 0.1) == pytest.approx(0.51)
    assert _schedule(0.1, 0.1) == pytest.approx(1.0)
    assert _schedule(0.55, 0.1) == pytest.approx(0.5)
    assert _schedule(0.325, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert _schedule(1.0, 0.1) == pytest.approx(0.0)
    assert _schedule(0.0, 0.0) == 1.0


def test_the_slanted_schedule_by_hand():
    assert _schedule(0.0, 0.1, "slanted") == pytest.approx(1 / 32)
    assert _schedule(0.05, 0.1, "slanted") == pytest.approx((1 + 0.5 * 31) / 32)
    assert _schedule(0.1, 0.1, "slanted") == pytest.approx(1.0)
    assert _schedule(0.55, 0.1, "slanted") == pytest.approx((1 + 0.5 * 31) / 32)
    assert _schedule(1.0, 0.1, "slanted") == pytest.approx(1 / 32)


def test_gradual_unfreezing_by_epoch():
    seen = []

    class Look(Classification):
        def __call__(self, net, batch):
            seen.append(frozenset(name for name, p in net.named_parameters() if p.requires_grad))
            return super().__call__(net, batch)

    module = Net()
    before = weights_of(module)
    later = Trainable(((r"head\.", 1.0), (r"trunk\.[01]\.", 0.5)), later=((r"trunk\.1\.", 1), (r"trunk\.", 2)))
    run(module, Plan(epochs=1, rate=0.05), trainable=later, task=Look())
    moved = {key for key, value in weights_of(module).items() if not torch.equal(before[key], value)}
    assert {name for name in moved if "running" not in name and "num_" not in name} == {"head.weight", "head.bias"}
    seen.clear()
    run(module, Plan(epochs=3, rate=0.05), trainable=later, task=Look())
    head, norm, first = ({f"{name}.weight", f"{name}.bias"} for name in ("head", "trunk.1", "trunk.0"))
    assert list(dict.fromkeys(seen)) == [head, head | norm, head | norm | first]
    assert all(p.requires_grad for p in module.parameters())


def test_the_rates_used_are_the_schedule_times_the_share(monkeypatch):
    rates = []
    real = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        rates.append(sorted({group["lr"] for group in self.param_groups}))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    shares = Trainable(((r"head\.", 1.0), (r"trunk\.", 0.1)))
    run(Net(), Plan(epochs=5, rate=0.02, warmup=0.2), trainable=shares)
    assert len(rates) == 20
    for number, pair in enumerate(rates):
        peak = 0.02 * _schedule(number / 20, 0.2)
        assert pair == pytest.approx([0.1 * peak, peak])


def test_trainable_freezes_exactly_what_it_says_and_puts_everything_back():
    module = Net()
    module.head.bias.requires_grad_(False)  # whatever was before must come back
    module.trunk[2].eval()
    gradients = {name: p.requires_grad for name, p in module.named_parameters()}
    modes = {name: m.training for name, m in module.named_modules()}
    seen = {}

    class Look(Classification):
        def __call__(self, net, batch):
            seen["gradients"] = {name: p.requires_grad for name, p in net.named_parameters()}
            seen["norm"] = net.trunk[1].training
            seen["dropout"] = net.trunk[3].training
            return super().__call__(net, batch)

    before = weights_of(module)
    shares = Trainable(((r"trunk\.0\.weight", 0.0), (r"trunk\.", 0.5), (r"head\.bias", 1.0)), batch_norm="frozen")
    run(module, Plan(epochs=2, rate=0.05), trainable=shares, task=Look())
    after = weights_of(module)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"trunk.0.bias", "trunk.1.weight", "trunk.1.bias", "head.bias"}
    assert seen["gradients"] == {name: name in moved for name in gradients}
    assert (seen["norm"], seen["dropout"]) == (False, True)
    assert {name: p.requires_grad for name, p in module.named_parameters()} == gradients
    with shares.applied(module):
        module.train()
    # The loop itself ends in evaluation mode; what `applied` found is put back.
    assert not any(m.training for m in module.modules())
    for name, child in module.named_modules():
        child.training = modes[name]
    with pytest.raises(KeyError), shares.applied(module):
        raise KeyError
    assert {name: m.training for name, m in module.named_modules()} == modes


def test_running_statistics_move_only_when_they_may():
    frozen, free = Net(), Net()
    before = weights_of(frozen)
    run(frozen, Plan(epochs=2, rate=0.01), trainable=Trainable(batch_norm="frozen"))
    run(free, Plan(epochs=2, rate=0.01))
    for key in ("trunk.1.running_mean", "trunk.1.running_var", "trunk.1.num_batches_tracked"):
        assert torch.equal(weights_of(frozen)[key], before[key])
        assert not torch.equal(weights_of(free)[key], before[key])


def test_nan_is_an_error_and_everything_is_put_back():
    class Bad(Classification):
        def __call__(self, net, batch):
            result = super().__call__(net, batch)
            return result | {"loss": result["loss"] * float("nan")}

    module = Net()
    with pytest.raises(DivergedError, match="loss became nan in epoch 1"):
        run(module, Plan(epochs=2, rate=0.01), task=Bad(), trainable=Trainable(((r"head\.", 1.0),)))
    assert all(p.requires_grad for p in module.parameters())


def test_an_infinite_gradient_is_an_error():
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g * float("inf")

    class Bad(Classification):
        def __call__(self, net, batch):
            x, y = batch
            return {"loss": functional.cross_entropy(Steep.apply(net(x)), y)}

    with pytest.raises(DivergedError, match="gradient became"):
        run(Plain(), Plan(epochs=1, rate=0.01), task=Bad())


def test_a_validation_loss_that_is_not_a_number_is_an_error():
    with pytest.raises(DivergedError, match="validation loss became inf"):
        run(Plain(), Plan(epochs=2, rate=0.01), evaluate=lambda: float("inf"))


def test_early_stopping_puts_the_best_weights_back():
    module, losses, kept = Net(), iter([3.0, 1.0, 2.0, 1.5, 1.2, 0.1]), []

    def evaluate():
        assert not module.training
        kept.append(weights_of(module))
        return next(losses)

    history = run(module, Plan(epochs=6, rate=0.05, patience=3), evaluate=evaluate)
    assert history.stopped == "patience"
    assert history.evaluations == [3.0, 1.0, 2.0, 1.5, 1.2]
    assert history.best_epoch == 1
    assert same(weights_of(module), kept[1])
    assert not same(kept[1], kept[4], 1e-4)


def test_without_evaluation_the_last_weights_stay():
    module = Net()
    history = run(module, Plan(epochs=3, rate=0.05, patience=1))
    assert (history.best_epoch, history.stopped, history.evaluations) == (2, "epochs", [])


def test_the_budget_cuts_the_first_epoch_short():
    seen = []

    def slow(seed):
        for batch in batches(12)(seed):
            seen.append(1)
            time.sleep(0.06)
            yield batch

    history = run(Net(), Plan(epochs=50, rate=0.01), epoch=slow, budget=Budget(seconds=0.1))
    assert history.stopped == "budget"
    assert len(history.losses) == 1
    assert 1 <= len(seen) < 4


def test_no_epoch_is_begun_that_would_overrun_the_budget():
    def slow(seed):
        time.sleep(0.3)
        return batches(12)(seed)

    budget = Budget(seconds=0.8)
    history = run(Net(), Plan(epochs=50, rate=0.01), epoch=slow, budget=budget)
    assert history.stopped == "budget"
    assert 1 <= len(history.losses) <= 2
    assert budget.left() > 0


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    state = torch.random.get_rng_state()
    results = []
    for seed in (1, 1, 2):
        module = Net(dropout=0.3)
        torch.rand(seed)  # whatever the global state is
        run(module, Plan(epochs=2, rate=0.02, seed=seed))
        results.append(weights_of(module))
    assert same(results[0], results[1])
    assert not same(results[0], results[2], 1e-4)
    torch.random.set_rng_state(state)
    run(Net(dropout=0.3), Plan(epochs=1, rate=0.02))
    assert torch.equal(torch.random.get_rng_state(), state)


class Killed(Exception):  # noqa: N818 - what happened
    pass


def interrupted(module, plan, path, at):
    """Trains, and dies in the middle of epoch `at`."""

    def epoch(seed):
        for number, batch in enumerate(batches(12)(seed)):
            if seed == plan.seed * 100_003 + at and number == 2:
                raise Killed
            yield batch

    with pytest.raises(Killed):
        run(module, plan, epoch=epoch, checkpoint=path, evaluate=evaluator(module))


def evaluator(module):
    x, y = data(20, seed=9)

    def evaluate():
        return float(functional.cross_entropy(module(x), y))

    return evaluate


@pytest.mark.parametrize("at", [1, 4])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path, at):
    plan = Plan(epochs=6, rate=0.05, seed=3, accumulate=3)
    whole = Net(dropout=0.3)
    expected = run(whole, plan, evaluate=evaluator(whole))
    interrupted(Net(dropout=0.3), plan, tmp_path / "check", at)
    again = Net(seed=99, dropout=0.3)  # what it starts from must not matter
    history = run(again, plan, checkpoint=tmp_path / "check", evaluate=evaluator(again))
    assert history.resumed == at
    assert same(weights_of(whole), weights_of(again))
    assert history.losses == expected.losses
    assert history.evaluations == expected.evaluations
    assert history.best_epoch == expected.best_epoch


def test_the_checkpoint_of_another_plan_is_not_used(tmp_path):
    plan = Plan(epochs=4, rate=0.05)
    interrupted(Net(), plan, tmp_path / "check", 2)
    module = Net()
    assert run(module, replace(plan, rate=0.01), checkpoint=tmp_path / "check").resumed == 0


@pytest.mark.parametrize("harm", ["cut", "garbage", "empty"])
def test_a_damaged_checkpoint_is_ignored_with_a_warning(tmp_path, caplog, harm):
    plan, path = Plan(epochs=3, rate=0.05), tmp_path / "check"
    interrupted(Net(), plan, path, 2)
    path.write_bytes({"cut": path.read_bytes()[:-100], "garbage": b"x" * 999, "empty": b""}[harm])
    whole, again = Net(), Net()
    run(whole, plan)
    with caplog.at_level(logging.WARNING, "headstart"):
        history = run(again, plan, checkpoint=path)
    assert "damaged" in caplog.text
    assert history.resumed == 0
    assert same(weights_of(whole), weights_of(again))


def test_a_full_disk_stops_no_training(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING, "headstart"):
        history = run(Net(), Plan(epochs=2, rate=0.05), checkpoint=tmp_path / "file" / "check")
    assert len(history.losses) == 2
    assert "no checkpoint was written" in caplog.text


def test_bf16_runs_and_stays_near(monkeypatch):
    seen = []

    class Look(Classification):
        def __call__(self, net, batch):
            result = super().__call__(net, batch)
            seen.append(result["output"].dtype)
            return result

    half, full = Plain(), Plain()
    a = run(half, Plan(epochs=3, rate=0.02, precision="bf16"), task=Look())
    b = run(full, Plan(epochs=3, rate=0.02))
    assert set(seen) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in half.parameters())
    assert a.losses == pytest.approx(b.losses, rel=0.05)
    assert a.losses != b.losses


def test_smoothing_by_hand():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = functional.log_softmax(logits, 1)[0]
    loss = Classification(0.3)(nn.Identity(), (logits, torch.tensor([0])))["loss"]
    assert float(loss) == pytest.approx(float(-(0.8 * log_p[0] + 0.1 * log_p[1] + 0.1 * log_p[2])), rel=1e-6)


def pictures(n, batch, augmentation=None, size=8):
    pixels = np.repeat(np.arange(n, dtype=np.uint8)[:, None], 8 * 8 * 3, axis=1).reshape(n, 8, 8, 3)
    how = Preprocessing(size=size, squash=True, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    return Pictures(Examples(ArrayInputs(pixels), np.arange(n) % 3), how, augmentation, batch=batch)


@pytest.mark.parametrize(
    ("n", "batch", "sizes"), [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (1, 4, [1]), (5, 4, [5])]
)
def test_a_last_batch_of_one_joins_the_batch_before(n, batch, sizes):
    data = pictures(n, batch)
    found = list(data.training(0))
    assert [len(y) for _, y in found] == sizes
    assert data.steps() == len(sizes)
    # Every picture once, with its own label.
    seen = torch.cat([x[:, 0, 0, 0] for x, _ in found]).round().long()
    assert sorted(seen.tolist()) == list(range(n))
    assert torch.equal(torch.cat([y for _, y in found]), seen % 3)


def test_the_order_comes_from_the_seed_and_evaluation_keeps_it():
    data = pictures(20, 6)
    a, b, c = (torch.cat([y for _, y in data.training(seed)]).tolist() for seed in (1, 1, 2))
    assert a == b != c
    assert torch.cat([y for _, y in data.evaluation()]).tolist() == [i % 3 for i in range(20)]


def test_pictures_that_do_not_fit_in_memory_are_decoded_again(monkeypatch):
    kept, fresh = pictures(10, 4), pictures(10, 4)
    monkeypatch.setattr(sys.modules["headstart.train.data"], "KEPT_BYTES", 0)
    first = [x for x, _ in fresh.training(5)]
    assert fresh._kept is None
    monkeypatch.undo()
    assert all(torch.equal(a, b) for a, b in zip(first, (x for x, _ in kept.training(5)), strict=True))
    assert kept._kept is not None


def test_augmentation_changes_pictures_and_keeps_labels():
    gradient = np.tile(np.arange(0, 240, 10, dtype=np.uint8)[None, None, :, None], (6, 24, 1, 3))
    how = Preprocessing(size=24, squash=True, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    data = Pictures(Examples(ArrayInputs(gradient), np.arange(6)), how, Augmentation(flip=True), batch=6)
    [(x, y)] = data.training(1)
    rows = x[:, 0, 0].round()
    forwards = torch.arange(0, 240, 10).float()
    flipped = [bool(torch.equal(row, forwards.flip(0))) for row in rows]
    assert all(f or torch.equal(row, forwards) for f, row in zip(flipped, rows, strict=True))
    assert 0 < sum(flipped) < 6
    assert sorted(y.tolist()) == list(range(6))
