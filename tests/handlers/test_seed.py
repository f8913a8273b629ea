import pytest
import torch

import posterity as pt
from posterity.kernels import Key
from tests.statistical import assert_mean, assert_uncorrelated

dist, handle = pt.distributions, pt.handlers


def model():
    return torch.stack([pt.sample(f"x_{i}", dist.Normal(0.0, 1.0)) for i in range(3)])


@pytest.mark.parametrize("source", [0, Key(0), pytest.param(None, id="generator")])
def test_the_same_seed_gives_the_same_draws_in_every_run(source):
    def seeded():
        return handle.seed(model, torch.Generator().manual_seed(0) if source is None else source)()

    assert torch.equal(seeded(), seeded())
    assert len(set(seeded().tolist())) == 3


def test_one_handler_repeats_its_draws():
    seeded = handle.seed(model, 0)
    assert torch.equal(seeded(), seeded())


def test_seeds_differ():
    assert not torch.equal(handle.seed(model, 0)(), handle.seed(model, 1)())


def test_torchs_generator_is_left_alone():
    state = torch.get_rng_state()
    handle.seed(model, rng_seed=0)()
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_of_different_sites_and_seeds_are_independent():
    draws = torch.stack([handle.seed(model, seed)() for seed in range(300)])
    assert_mean(draws, 0.0)
    assert_uncorrelated(draws[:, 0], draws[:, 1])
    assert_uncorrelated(draws[:-1, 0], draws[1:, 0])


def test_observing_a_site_leaves_the_draws_before_it():
    observed = handle.seed(handle.condition(model, {"x_1": 0.0}), 0)()
    assert observed[0] == handle.seed(model, 0)()[0]


def test_the_inner_of_two_seeds_holds():
    assert torch.equal(handle.seed(handle.seed(model, 1), 2)(), handle.seed(model, 1)())


def test_a_batch_of_keys_draws_under_vmap():
    keys = torch.stack([Key(i).data for i in range(5)])
    draws = torch.vmap(lambda data: handle.seed(model, Key(data))())(keys)
    torch.testing.assert_close(draws, torch.stack([handle.seed(model, i)() for i in range(5)]))


@pytest.mark.parametrize("seed", [None, True, 1.0, "0"])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(
        TypeError, match="seed: rng_seed must be a whole number, a posterity.kernels.Key or a torch.Gen"
    ):
        handle.seed(model, seed)
