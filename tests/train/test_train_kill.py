"""kill -9 in the middle of a training, and the same command again: the weights are those of an undisturbed one."""

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import hashlib, sys, time
from pathlib import Path
import torch
from torch import nn
from headstart.budget import Budget
from headstart.train import Classification, Plan, Trainable, train

torch.manual_seed(0)
x = torch.randn(48, 5)
y = (x[:, 0] > 0).long()
net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))

def epoch(seed):
    print("epoch", flush=True)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(seed))
    for part in order.split(12):
        time.sleep(0.02)
        yield x[part], y[part]

def evaluate():
    return float(nn.functional.cross_entropy(net(x), y))

plan = Plan(epochs=30, rate=0.02, accumulate=2)
history = train(net, Classification(), epoch, 4, plan, Trainable(), budget=Budget(), evaluate=evaluate,
                checkpoint=Path(sys.argv[1]))
state = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
print(history.resumed, hashlib.sha256(state + repr(history.losses).encode()).hexdigest())
"""


def start(checkpoint):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(checkpoint)], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_kill_9_and_resume(tmp_path):
    process = start(tmp_path / "check")
    for _ in range(6):
        assert process.stdout.readline() == "epoch\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    last = [start(tmp_path / name).communicate()[0].splitlines()[-1].split() for name in ("check", "other")]
    (resumed, again), (from_nothing, whole) = last
    assert 4 <= int(resumed) <= 6
    assert int(from_nothing) == 0
    assert again == whole
