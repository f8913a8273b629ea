import pytest
import torch

from posterity.infer.mcmc.metric import DenseMetric, DiagonalMetric, LowRankMetric, Preconditioned
from posterity.infer.mcmc.target import LogDensity


def metrics(chains=3, dim=4):
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(chains, dim, dim, generator=generator, dtype=torch.float64)
    scale = normal[..., 0].exp()
    return {
        "diagonal": DiagonalMetric(scale),
        "dense": DenseMetric(torch.linalg.cholesky(normal @ normal.mT + torch.eye(dim))),
        "low rank": LowRankMetric(
            scale, torch.linalg.qr(normal)[0][..., :2].contiguous(), torch.tensor([[0.2, 5.0]] * chains).double()
        ),
    }


@pytest.mark.parametrize("name", metrics())
def test_the_transpose_and_the_inverse_are_those_of_the_map(name):
    metric = metrics()[name]
    u, g = torch.randn(2, 7, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(metric.inverse(metric.forward(u)), u)
    torch.testing.assert_close((metric.forward(u) * g).sum(-1), (u * metric.transpose(g)).sum(-1))


@pytest.mark.parametrize("name", metrics())
def test_gradients_in_whitened_space_are_those_of_the_composition(name):
    metric = metrics()[name]
    target = LogDensity(lambda z: (z.sin() - z**4 / 9).sum(-1), 4, batched=True)
    u = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    value, gradient = Preconditioned(target, metric).value_and_grad(u)
    composed = target.log_density(metric.forward(u))
    torch.testing.assert_close(value, composed.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(composed.sum(), u)[0])
    torch.testing.assert_close(Preconditioned(target, metric).log_density(u), composed)
