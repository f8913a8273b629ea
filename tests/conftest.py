"""Every test has a random stream of its own, and leaves nothing behind."""

import pytest
import torch
from hypothesis import settings

from posterity import runtime

# Small tensors only: threads cost more than they give, and far more where other work shares the cores.
torch.set_num_threads(1)

# The same examples every time, however slow the machine is at its first one.
settings.register_profile("posterity", deadline=None, derandomize=True)
settings.load_profile("posterity")


@pytest.fixture(autouse=True)
def local_seed():
    """A fixed seed under a forked generator, so that no test depends on those before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        yield


@pytest.fixture
def no_validation():
    """Checks of values switched off, as on devices whose values cannot be read."""
    before = runtime.set_validation(False)
    yield
    runtime.set_validation(before)
