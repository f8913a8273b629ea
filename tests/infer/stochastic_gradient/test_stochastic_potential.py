"""The estimate of the gradient is, on average over minibatches, the gradient of the whole log density."""

import itertools

import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer import Potential
from posterity.infer.run_at_point import Call
from posterity.infer.stochastic_gradient import StochasticPotential
from posterity.infer.stochastic_gradient.stochastic_potential import subsamples_of
from posterity.kernels import Key

DATA = torch.tensor([-1.0, 0.5, 2.0, 4.0], dtype=torch.float64)
ZERO = torch.zeros((), dtype=torch.float64)


def model(x, taken=2):
    loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
    scale = pt.sample("scale", dist.HalfNormal(ZERO + 1.0))
    with pt.plate("data", len(x), subsample_size=taken) as indices:
        pt.sample("x", dist.Normal(loc, scale), obs=x[indices])


def test_the_mean_over_all_subsamples_is_the_gradient_of_the_whole():
    whole = Potential(model, (DATA, 4))
    potential = StochasticPotential(model, (DATA,))
    subsets = torch.tensor(list(itertools.combinations(range(4), 2)))
    points = torch.tensor([[0.3, -0.2]], dtype=torch.float64).expand(len(subsets), 2)
    estimates = potential.gradient(points, Call((DATA,), {}, {"data": subsets}))
    torch.testing.assert_close(estimates.mean(0), whole.value_and_grad(points[0])[1])
    assert estimates.std(0).min() > 0.1


def test_one_chain_and_many_see_the_same():
    potential = StochasticPotential(model, (DATA,))
    keys = Key(0).fold_in(torch.arange(5))
    subsamples = subsamples_of(potential.plates((DATA,), {}), keys)
    points = torch.randn(5, 2, dtype=torch.float64)
    together = potential.gradient(points, Call((DATA,), {}, subsamples))
    for i in range(5):
        own = {name: rows[i : i + 1] for name, rows in subsamples.items()}
        torch.testing.assert_close(potential.gradient(points[i : i + 1], Call((DATA,), {}, own))[0], together[i])


def test_a_batch_that_the_caller_gives_is_scaled_up():
    def batched(batch):
        loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
        with pt.plate("data", 4, subsample_size=len(batch)):
            pt.sample("x", dist.Normal(loc, 1.0), obs=batch)

    potential = StochasticPotential(batched, (DATA[:2],))
    z = torch.tensor([[0.5]], dtype=torch.float64)
    for batch in (DATA[:2], DATA[2:], DATA[:3]):
        indices = subsamples_of(potential.plates((batch,), {}), Key(0).fold_in(torch.arange(1)))
        gradient = potential.gradient(z, Call((batch,), {}, indices))
        expected = -0.5 / 4 + 4 / len(batch) * (batch - 0.5).sum()
        torch.testing.assert_close(gradient, expected.reshape(1, 1))


def test_discrete_variables_of_a_subsample_are_summed_out():
    def mixture(x, taken=2):
        loc = pt.sample("loc", dist.Normal(ZERO, 2.0))
        with pt.plate("data", len(x), subsample_size=taken) as indices:
            z = pt.sample("z", dist.Bernoulli(ZERO + 0.3), infer={"enumerate": "parallel"})
            pt.sample("x", dist.Normal(loc + 2 * z, 1.0), obs=x[indices])

    potential, whole = StochasticPotential(mixture, (DATA,)), Potential(mixture, (DATA, 4))
    subsets = torch.tensor(list(itertools.combinations(range(4), 2)))
    points = torch.full((len(subsets), 1), 0.4, dtype=torch.float64)
    estimates = potential.gradient(points, Call((DATA,), {}, {"data": subsets}))
    torch.testing.assert_close(estimates.mean(0), whole.value_and_grad(points[0])[1])


def test_torchs_generator_is_left_alone_by_the_look_at_a_batch():
    potential = StochasticPotential(model, (DATA,))
    before = torch.get_rng_state()
    potential.plates((DATA[:3],), {})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_variable_of_a_subsample_is_refused():
    def local(x):
        with pt.plate("data", len(x), subsample_size=2) as indices:
            z = pt.sample("z", dist.Normal(0.0, 1.0))
            pt.sample("x", dist.Normal(z, 1.0), obs=x[indices])

    with pytest.raises(ValueError, match="latent site 'z' stands inside plate 'data', which takes a random subsample"):
        StochasticPotential(local, (DATA,))


def test_a_model_with_other_variables_for_another_batch_is_refused():
    def changing(x):
        pt.sample("a" if len(x) == 2 else "b", dist.Normal(ZERO, 1.0))

    potential = StochasticPotential(changing, (DATA[:2],))
    with pytest.raises(ValueError, match="the latent sites 'b' with this batch, but 'a' with the first one"):
        potential.plates((DATA,), {})


def test_a_variable_of_the_batchs_size_is_refused():
    def per_row(x):
        with pt.plate("rows", len(x)):
            z = pt.sample("z", dist.Normal(ZERO, 1.0))
        pt.sample("x", dist.Normal(z.sum(), 1.0), obs=x.sum())

    potential = StochasticPotential(per_row, (DATA,))
    with pytest.raises(
        ValueError, match=r"latent site 'z' has shape \(1,\) with this batch, but \(4,\) with the first"
    ):
        potential.plates((DATA[:1],), {})
