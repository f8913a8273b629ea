"""The loss is the negative evidence lower bound, and a bound it is."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity import nn as bnn
from posterity.nn.posteriors import inverse_softplus
from tests.statistical import assert_mean


@pytest.mark.parametrize("kl_weight", [0.0, 0.3, 1.0])
def test_it_is_nll_plus_kl_over_the_data(kl_weight):
    net = bnn.Linear(4, 3, dtype=torch.float64)
    nll = F.cross_entropy(net(torch.randn(8, 4).double()), torch.arange(8) % 3)
    expected = nll + kl_weight * bnn.kl_divergence(net) / 250
    torch.testing.assert_close(pt.elbo_loss(net, nll, num_data=250, kl_weight=kl_weight), expected)


def test_the_weight_is_one_unless_said():
    net = bnn.Linear(2, 2)
    assert torch.equal(pt.elbo_loss(net, torch.tensor(1.0), 7), pt.elbo_loss(net, torch.tensor(1.0), 7, kl_weight=1.0))


def test_gradients_are_those_of_both_terms():
    net = bnn.Linear(4, 3)
    torch.manual_seed(1)
    loss = pt.elbo_loss(net, net(torch.ones(2, 4)).square().mean(), num_data=10)
    both = torch.autograd.grad(loss, list(net.parameters()))
    torch.manual_seed(1)
    nll = torch.autograd.grad(net(torch.ones(2, 4)).square().mean(), list(net.parameters()))
    kl = torch.autograd.grad(bnn.kl_divergence(net), list(net.parameters()))
    for a, b, c in zip(both, nll, kl, strict=True):
        torch.testing.assert_close(a, b + c / 10)


@pytest.mark.parametrize(
    "wrap", [nn.Sequential, lambda m: torch.compile(m, backend="eager")], ids=["nested", "compiled"]
)
def test_wrappers_are_seen_through(wrap):
    net = bnn.Linear(2, 2)
    nll = torch.tensor(1.5)
    assert torch.equal(pt.elbo_loss(wrap(net), nll, 10), pt.elbo_loss(net, nll, 10))


class TestConjugate:
    """y = w x + noise of known scale, w ~ Normal(0, prior): everything is known in closed form."""

    x = torch.tensor([-1.0, 0.3, 0.9, 2.0, 2.5], dtype=torch.float64)[:, None]
    y = torch.tensor([-1.4, 0.9, 1.0, 3.1, 4.4], dtype=torch.float64)[:, None]
    noise, prior = 0.6, 1.5

    def log_evidence(self) -> float:
        covariance = self.noise**2 * torch.eye(5, dtype=torch.float64) + self.prior**2 * self.x @ self.x.mT
        law = torch.distributions.MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance)
        return law.log_prob(self.y[:, 0]).item()

    def exact(self) -> tuple[float, float]:
        precision = 1 / self.prior**2 + self.x.square().sum().item() / self.noise**2
        return (self.x * self.y).sum().item() / self.noise**2 / precision, precision**-0.5

    def net(self, loc: float, scale: float, estimator: str = "reparam") -> bnn.Linear:
        prior = dist.Normal(0.0, self.prior)
        net = bnn.Linear(1, 1, bias=False, prior=prior, estimator=estimator, dtype=torch.float64)
        with torch.no_grad():
            net.weight_loc.fill_(loc)
            net.weight_rho.fill_(inverse_softplus(scale))
        return net

    def elbo(self, loc: float, scale: float) -> float:
        """By `elbo_loss`, given the likelihood's exact expectation under q."""
        squares = (self.y - loc * self.x).square() + scale**2 * self.x.square()
        constant = math.log(self.noise) + 0.5 * math.log(2 * math.pi)
        nll = (squares / (2 * self.noise**2) + constant).mean()
        return -5 * pt.elbo_loss(self.net(loc, scale), nll, num_data=5).item()

    def test_at_the_exact_posterior_it_is_the_evidence(self):
        assert math.isclose(self.elbo(*self.exact()), self.log_evidence(), rel_tol=1e-10)

    @given(loc=st.floats(-5, 5), scale=st.floats(1e-3, 5))
    def test_everywhere_else_it_is_below_by_the_kl_to_the_exact_posterior(self, loc, scale):
        q, p = (torch.distributions.Normal(*map(torch.tensor, pair)) for pair in ((loc, scale), self.exact()))
        gap = torch.distributions.kl_divergence(q, p).item()
        assert self.elbo(loc, scale) <= self.log_evidence() + 1e-9
        assert math.isclose(self.log_evidence() - self.elbo(loc, scale), gap, rel_tol=1e-3, abs_tol=1e-4)

    @pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
    def test_forwards_of_the_network_estimate_it_without_bias(self, estimator):
        net = self.net(*self.exact(), estimator=estimator)
        losses, gradients = [], []
        for _ in range(3000):
            nll = -torch.distributions.Normal(net(self.x), self.noise).log_prob(self.y).mean()
            loss = pt.elbo_loss(net, nll, num_data=5)
            losses.append(loss.detach())
            gradients.append(torch.stack(torch.autograd.grad(loss, [net.weight_loc, net.weight_rho])).flatten())
        assert_mean(-5 * torch.stack(losses), self.log_evidence())
        # The exact posterior is where training comes to rest.
        assert_mean(torch.stack(gradients), 0.0)


class TestRefusals:
    net = bnn.Linear(2, 2)
    nll = torch.tensor(1.0)

    @pytest.mark.parametrize("num_data", [0, -1, -0.5, float("nan"), float("inf"), torch.tensor(5)])
    def test_num_data(self, num_data):
        with pytest.raises(ValueError, match="elbo_loss: num_data must be a positive number .*training set"):
            pt.elbo_loss(self.net, self.nll, num_data)

    @pytest.mark.parametrize("kl_weight", [-1.0, float("nan"), float("inf")])
    def test_kl_weight(self, kl_weight):
        with pytest.raises(ValueError, match="elbo_loss: kl_weight must be zero or positive"):
            pt.elbo_loss(self.net, self.nll, 10, kl_weight=kl_weight)

    @pytest.mark.parametrize("shape", [(8,), (1,), (2, 3)])
    def test_an_unreduced_criterion(self, shape):
        with pytest.raises(
            ValueError, match=r"nll must be a scalar, got shape \[.*use the criterion's reduction='mean'"
        ):
            pt.elbo_loss(self.net, torch.ones(shape), 10)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_a_criterion_that_is_not_finite(self, value):
        with pytest.raises(ValueError, match=r"the criterion returned -?(nan|inf); look for NaN in the inputs"):
            pt.elbo_loss(self.net, torch.tensor(value), 10)

    @pytest.mark.parametrize("nll", [1.0, None, torch.tensor(1)])
    def test_what_is_no_criterion(self, nll):
        with pytest.raises(TypeError, match="nll must be the tensor that a criterion returned, got"):
            pt.elbo_loss(self.net, nll, 10)

    @pytest.mark.parametrize("net", [nn.Linear(2, 2), nn.ReLU()])
    def test_nothing_random(self, net):
        with pytest.raises(ValueError, match="has no random parameters; make some with posterity.bayesianize"):
            pt.elbo_loss(net, self.nll, 10)
