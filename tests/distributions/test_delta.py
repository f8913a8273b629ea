import pytest
import torch

from posterity.distributions import Delta, Exponential, Normal, kl_divergence


def test_all_mass_is_at_the_point():
    d = Delta(torch.tensor([1.0, 2.0]))
    assert d.log_prob(torch.tensor(1.0)).tolist() == [0.0, -torch.inf]
    assert d.cdf(torch.tensor(1.5)).tolist() == [1.0, 0.0]
    assert d.survival_function(torch.tensor(1.5)).tolist() == [0.0, 1.0]
    assert torch.equal(d.median, d.value)
    assert torch.equal(d.mean, d.mode)
    assert d.variance.tolist() == d.entropy().tolist() == [0.0, 0.0]
    assert d.sample((3,)).shape == (3, 2)


def test_vectors_are_one_event_and_expand():
    d = Delta(torch.zeros(4, 3), log_density=torch.tensor(0.5), event_dim=1)
    assert (d.batch_shape, d.event_shape) == ((4,), (3,))
    assert d.log_prob(torch.zeros(3)).tolist() == [0.5] * 4
    assert d.log_prob(torch.tensor([0.0, 0.0, 1.0])).tolist() == [-torch.inf] * 4
    assert d.expand((2, 4)).sample((5,)).shape == (5, 2, 4, 3)


def test_gradients_reach_the_point():
    point = torch.tensor(2.0, requires_grad=True)
    Delta(point).rsample((3,)).sum().backward()
    assert float(point.grad) == 3


def test_the_kl_is_minus_the_log_density():
    q = Normal(0.0, 2.0)
    torch.testing.assert_close(kl_divergence(Delta(torch.tensor(1.5)), q), -q.log_prob(torch.tensor(1.5)))
    assert float(kl_divergence(Delta(torch.tensor(-1.0)), Exponential(1.0))) == torch.inf


def test_fit_is_the_one_value_and_bad_input_is_named():
    assert float(Delta.fit(torch.tensor([2.0, 2.0])).value) == 2
    with pytest.raises(ValueError, match=r"data of Delta.fit must all be one value"):
        Delta.fit(torch.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="value of Delta"):
        Delta("a")
    with pytest.raises(ValueError, match="event_dim of Delta must lie between 0 and 1"):
        Delta(torch.zeros(3), event_dim=2)
    with pytest.raises(ValueError, match=r"log_density \(2,\)"):
        Delta(torch.zeros(3), log_density=torch.zeros(2))
