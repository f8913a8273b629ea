"""The KL of whole modules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity import nn as bnn

pytestmark = pytest.mark.filterwarnings("ignore:.*look untrained")

PRIORS = {
    "normal": torch.distributions.Normal(0.3, 1.7),
    "our normal": dist.Normal(0.3, 1.7),
    "laplace": torch.distributions.Laplace(0.1, 0.5),
    "our laplace": dist.Laplace(0.1, 0.5),
    "broadcast": torch.distributions.Normal(0.0, torch.linspace(0.1, 2.0, 4)),
    "fan in": bnn.FanIn(gain=0.7),
    "pretrained": "pretrained",
    "pretrained, wider": bnn.Pretrained(relative_scale=3.0),
}


def perturbed(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in module.parameters():
            p += 0.3 * torch.randn_like(p)
    return module


def expected_kl(layer: bnn.RandomModule, name: str) -> torch.Tensor:
    """From torch's registry, with torch's own distributions."""
    prior = layer._random[name].prior.distribution(layer._random[name].prior_tensors(layer, name))
    kind = torch.distributions.Laplace if "Laplace" in type(prior).__name__ else torch.distributions.Normal
    q = torch.distributions.Normal(getattr(layer, f"{name}_loc"), F.softplus(getattr(layer, f"{name}_rho")))
    return torch.distributions.kl_divergence(q, kind(prior.loc, prior.scale)).sum()


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_kl_is_torchs(prior):
    layer = perturbed(bnn.Linear(4, 3, bias=False, prior=prior, dtype=torch.float64))
    torch.testing.assert_close(bnn.kl_divergence(layer), expected_kl(layer, "weight"))


@pytest.mark.parametrize("prior", ["pretrained", dist.Laplace(0.0, 1.0)], ids=str)
def test_kl_of_a_network_is_the_sum_over_its_parameters(prior):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)).double()
    net = perturbed(pt.bayesianize(net, prior=prior))
    parts = [expected_kl(net[i], name) for i in (0, 2) for name in ("weight", "bias")]
    torch.testing.assert_close(bnn.kl_divergence(net), torch.stack(parts).sum())


def test_pretrained_prior_sits_at_the_trained_values():
    net = nn.Linear(3, 2).double()
    converted = pt.bayesianize(net, prior="pretrained")
    assert torch.equal(converted.weight_prior_loc, net.weight)
    before = bnn.kl_divergence(converted)
    with torch.no_grad():
        converted.weight_loc += 1
    shift = 6 / (2 * converted.weight_prior_scale**2)
    torch.testing.assert_close(bnn.kl_divergence(converted) - before, shift)


def test_scale_mixture_is_estimated_anew_each_time():
    layer = bnn.Linear(3, 2, prior=bnn.ScaleMixture())
    first, second = bnn.kl_divergence(layer), bnn.kl_divergence(layer)
    assert first != second
    first.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


def test_gradients_reach_loc_and_rho():
    layer = bnn.Linear(3, 2)
    bnn.kl_divergence(layer).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("prior", [dist.Normal(0.0, 1.0), dist.Laplace(0.0, 1.0), bnn.ScaleMixture()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kl_of_half_parameters_is_summed_in_float32(prior, dtype):
    # 62,500 terms of several nats: beyond float16, and beyond what bfloat16 can resolve.
    layer = bnn.Linear(250, 250, bias=False, prior=prior, posterior=bnn.MeanFieldNormal(1e-3)).to(dtype)
    actual = bnn.kl_divergence(layer)
    assert actual.dtype == torch.float32
    # The sampled estimate has a standard error of 250 * 0.7 nats.
    torch.testing.assert_close(
        actual, bnn.kl_divergence(layer.float()), rtol=1e-5, atol=1000 if "Mix" in str(prior) else 0
    )


class TiedWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.embedding(x))


def test_tied_parameters_count_once():
    tied = pt.bayesianize(TiedWeights(), prior=dist.Normal(0.0, 1.0))
    alone = pt.bayesianize(nn.Embedding(5, 4), prior=dist.Normal(0.0, 1.0))
    with torch.no_grad():
        alone.weight_loc.copy_(tied.embedding.weight_loc)
        alone.weight_rho.copy_(tied.embedding.weight_rho)
    torch.testing.assert_close(bnn.kl_divergence(tied), bnn.kl_divergence(alone))


def test_a_module_used_twice_counts_once():
    layer = bnn.Linear(4, 4)
    torch.testing.assert_close(bnn.kl_divergence(nn.Sequential(layer, nn.ReLU(), layer)), bnn.kl_divergence(layer))


def test_a_submodule_random_in_its_own_way_takes_part():
    class Own(nn.Module):
        def own_kl(self):
            return torch.tensor(2.5)

    layer = bnn.Linear(2, 2)
    both = bnn.kl_divergence(nn.Sequential(layer, Own()))
    torch.testing.assert_close(both, bnn.kl_divergence(layer) + 2.5)
    assert bnn.kl_divergence(nn.Sequential(Own())) == 2.5


def test_nothing_random_is_an_error():
    with pytest.raises(ValueError, match=r"kl_divergence: Linear has no random parameters; .*bayesianize"):
        bnn.kl_divergence(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"kl_divergence: module must be a torch.nn.Module, got dict"):
        bnn.kl_divergence({})
