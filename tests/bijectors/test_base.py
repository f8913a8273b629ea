"""What a bijector refuses, how it acts on distributions, and what a new one has to bring."""

import pytest
import torch
from torch.distributions import Bernoulli, Gamma, LogNormal, Normal, Uniform

from posterity import distributions, runtime
from posterity.bijectors import (
    Bijector,
    Chain,
    Exp,
    Identity,
    Log,
    ScalarAffine,
    Scale,
    Sigmoid,
    StickBreaking,
    Tanh,
    constraints,
)


class Cubed(Bijector):
    """The smallest bijector: its log-det in y goes through the inverse."""

    domain = codomain = constraints.positive

    def _forward(self, x):
        return x**3

    def _inverse(self, y):
        return y ** (1 / 3)

    def _forward_log_det(self, x):
        return (3 * x.square()).log()


class Learnt(Bijector, torch.nn.Module):
    domain = codomain = constraints.real

    def __init__(self):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.tensor(0.5))

    def _forward(self, x):
        return x * self.log_scale.exp()

    def _inverse(self, y):
        return y / self.log_scale.exp()

    def _forward_log_det(self, x):
        return self.log_scale.expand(x.shape)


def test_three_hooks_make_a_bijector():
    y = torch.tensor(8.0)
    torch.testing.assert_close(Cubed().inverse_log_det_jacobian(y), -torch.log(torch.tensor(12.0)))
    torch.testing.assert_close(Cubed().inv(y), torch.tensor(2.0))


def test_a_module_can_be_a_bijector_and_part_of_others():
    flow = Learnt()
    assert [name for name, _ in flow.named_parameters()] == ["log_scale"]
    chain = Chain([flow, Exp()])
    chain.inverse_and_log_det(torch.tensor(2.0))[1].backward()
    assert flow.log_scale.grad is not None
    assert flow == flow
    assert flow != Learnt()
    assert flow.inv.inv is flow
    assert torch.equal(flow.with_cache().log_scale, flow.log_scale)


@pytest.mark.parametrize(
    ("hook", "message"),
    [("forward", "no forward map"), ("inverse", "no inverse"), ("forward_log_det_jacobian", "no log-d")],
)
def test_what_is_not_implemented_says_so(hook, message):
    class Empty(Bijector):
        domain = codomain = constraints.real

    with pytest.raises(NotImplementedError, match=f"Empty has {message}"):
        getattr(Empty(), hook)(torch.zeros(1))


@pytest.mark.parametrize("value", [1.0, [1.0], torch.tensor(1), torch.tensor(1j)])
def test_only_real_floating_tensors_are_taken(value):
    for method in ("forward", "forward_log_det_jacobian", "forward_and_log_det"):
        with pytest.raises(TypeError, match="input of Exp must be a tensor of real floating numbers, not"):
            getattr(Exp(), method)(value)
    for method in ("inverse", "inverse_log_det_jacobian", "inverse_and_log_det"):
        with pytest.raises(TypeError, match="output of Exp must be a tensor of real floating numbers, not"):
            getattr(Exp(), method)(value)


def test_values_outside_the_domain_are_named():
    with pytest.raises(ValueError, match=r"input of Log must satisfy GreaterThan.*shape \(3,\) holds tensor\(-2"):
        Log()(torch.tensor([1.0, -2.0, 3.0]))
    with pytest.raises(ValueError, match=r"output of Exp must satisfy .* holds tensor\(0\.\)"):
        Exp().inverse(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"output of StickBreaking must satisfy Simplex.* holds tensor\(\[0\.9"):
        StickBreaking().inverse(torch.tensor([[0.5, 0.5], [0.9, 0.9]]))
    low = torch.tensor([0.0, 2.0])
    with pytest.raises(ValueError, match=r"output of Sigmoid must satisfy .*shape \(\) holds tensor\(0\.5"):
        Sigmoid(low, 3.0).inverse(torch.tensor(0.5))
    with pytest.raises(ValueError, match="holds tensor.nan"):
        Exp()(torch.tensor(float("nan")))


def test_values_are_not_read_when_validation_is_off(no_validation):
    assert not runtime.validation_enabled()
    assert bool(Log()(torch.tensor(-1.0)).isnan())


def test_values_are_checked_under_vmap():
    with pytest.raises(ValueError, match="input of Log must satisfy"):
        torch.vmap(Log())(torch.tensor([1.0, -1.0]))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"input of StickBreaking has shape \(\), but needs at least 1 dimension\."):
        StickBreaking()(torch.tensor(0.0))
    with pytest.raises(ValueError, match=r"input of shape \(2,\) does not broadcast against the batch_shape \(3,\)"):
        Scale(torch.ones(3))(torch.ones(2))
    with pytest.raises(ValueError, match=r"output of shape \(2,\) does not broadcast"):
        Scale(torch.ones(3)).inverse_shape(torch.Size([2]))


def test_of_a_distribution_it_is_the_distribution_of_the_image():
    y = torch.tensor([0.3, 2.0])
    for base in (Normal(0.3, 0.8), distributions.Normal(0.3, 0.8)):
        mapped = Exp()(base)
        assert isinstance(mapped, torch.distributions.TransformedDistribution)
        torch.testing.assert_close(mapped.log_prob(y), LogNormal(0.3, 0.8).log_prob(y))


def test_a_support_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"Log maps GreaterThan\(.*\), but Normal has the support Real\(\)"):
        Log()(Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="Exp maps .* but Bernoulli has the support Boolean"):
        Exp()(Bernoulli(0.5))
    # Gamma's support holds 0, which has probability 0.
    draws = Log()(Gamma(2.0, 1.0)).sample((5,))
    assert bool(draws.isfinite().all())
    assert float(Log()(Uniform(1.0, 2.0)).sample()) < 1


def test_the_cache_holds_the_latest_pair_only():
    x = torch.tensor(20.0)
    plain, cached = Sigmoid(), Sigmoid().with_cache()
    assert float(plain.inverse(plain(x))) < 17
    y = cached(x)
    assert cached.inverse(y) is x
    assert float(cached.inverse_log_det_jacobian(y)) == -float(plain.forward_log_det_jacobian(x))
    cached(torch.tensor(0.0))
    assert float(cached.inverse(y)) < 17
    assert cached.with_cache() is cached
    assert float(cached.with_cache(0).inverse(y)) < 17
    with pytest.raises(ValueError, match="cache_size must be 0 or 1, not 2"):
        plain.with_cache(2)


def test_a_cached_value_keeps_its_graph():
    x = torch.tensor(0.7, requires_grad=True)
    y, log_det = Tanh().with_cache().forward_and_log_det(x)
    (gradient,) = torch.autograd.grad(y + log_det, x)
    torch.testing.assert_close(gradient, 1 - y.detach().square() - 2 * y.detach())


def test_equality_is_that_of_type_and_parameters():
    scale = torch.tensor([1.0, 2.0])
    assert Scale(scale) == Scale(scale.clone())
    assert Scale(scale) != Scale(2 * scale)
    assert Scale(2.0) != Scale(torch.tensor(2.0))
    assert Scale(2.0) != ScalarAffine(2.0)
    assert Chain([Exp(), Scale(2.0)]) == Chain([Exp(), Scale(2.0)])
    assert Chain([Exp(), Scale(2.0)]) != Chain([Scale(2.0), Exp()])
    assert Exp().inv == Exp().inv
    assert Exp().inv != Exp()
    assert len({Exp(), Exp(), Identity()}) == 2


def test_signs():
    assert (Exp().sign, Scale(-2.0).sign, Chain([Scale(-2.0), Exp(), Scale(-1.0)]).sign) == (1, -1, 1)
    assert Scale(torch.tensor([-1.0, 2.0])).inv.sign.tolist() == [-1.0, 1.0]
    with pytest.raises(NotImplementedError, match="StickBreaking has no sign"):
        _ = StickBreaking().sign


def test_the_text_shows_arguments():
    assert repr(Chain([Scale(2.0), Sigmoid(torch.zeros(2), 1.0)])) == (
        "Chain(bijectors=(Scale(scale=2.0), Sigmoid(low=tensor of (2,), high=1.0)))"
    )
    assert repr(Scale(torch.tensor(2.0))) == "Scale(scale=2.0)"


def test_a_distribution_is_mapped_inside_a_graph():
    def log_prob(y, loc):
        return Exp()(distributions.Normal(loc, 1.0)).log_prob(y)

    y, loc = torch.tensor([0.5, 2.0]), torch.tensor(0.2)
    expected = log_prob(y, loc)
    compiled = torch.compile(log_prob, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(y, loc), expected)
