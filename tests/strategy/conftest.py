"""Networks of a few thousand weights are slower on two threads than on one, and to compile them takes longer still."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def _without_compiling():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headstart.features.network.COMPILE_FROM", 10**9)
        yield
