"""Transformed distributions against closed forms and torch."""

import copy
import math
import pickle

import pytest
import torch
from scipy import stats
from torch import nn

from posterity import kernels
from posterity.bijectors import (
    MAF,
    CumSum,
    Exp,
    Flow,
    Identity,
    Permute,
    RealNVP,
    Reshape,
    ScalarAffine,
    Scale,
    ScaleMatvecTriL,
    Shift,
    Sigmoid,
    SoftmaxCentered,
    Softplus,
    Trainable,
    bijector_to,
)
from posterity.distributions import (
    Categorical,
    Exponential,
    Gumbel,
    Independent,
    Laplace,
    Mixture,
    Normal,
    TransformedDistribution,
    Uniform,
    kl_divergence,
)
from tests.distributions.checks import assert_follows, assert_relatively_close

td = torch.distributions
LOC = torch.tensor([0.3, -1.0], dtype=torch.float64)
SCALE = torch.tensor([0.5, 1.2], dtype=torch.float64)


def log_normal():
    return TransformedDistribution(Normal(LOC, SCALE), [Exp()])


def test_a_log_normal_has_its_textbook_statistics():
    d = log_normal()
    exact = [stats.lognorm(s, scale=math.exp(m)) for m, s in zip(LOC.tolist(), SCALE.tolist(), strict=True)]
    x = torch.tensor([1e-8, 0.4, 3.0, 1e6], dtype=torch.float64)
    for i, e in enumerate(exact):
        one = TransformedDistribution(Normal(LOC[i], SCALE[i]), Exp())
        for ours, theirs in (("log_prob", "logpdf"), ("cdf", "cdf"), ("survival_function", "sf")):
            assert_relatively_close(getattr(one, ours)(x), getattr(e, theirs)(x.numpy()), 2e-12)
        assert float(one.log_survival_function(x)[-1]) == pytest.approx(e.logsf(1e6), rel=1e-12)
        assert float(one.log_cdf(x)[0]) == pytest.approx(e.logcdf(1e-8), rel=1e-12)
        p = torch.tensor([1e-30, 0.2, 0.999], dtype=torch.float64)
        assert_relatively_close(one.icdf(p), e.ppf(p.numpy()), 1e-12)
        # Integrals state 1e-9.
        assert float(d.mean[i]) == pytest.approx(e.mean(), rel=1e-8)
        assert float(d.variance[i]) == pytest.approx(e.var(), rel=1e-8)
        assert float(d.entropy()[i]) == pytest.approx(e.entropy(), rel=1e-8)
        # Searched for, to the root of the precision.
        assert float(d.mode[i]) == pytest.approx(math.exp(float(LOC[i] - SCALE[i] ** 2)), rel=1e-6)


def test_it_is_torchs_and_ours_and_survives_copying():
    d = log_normal()
    assert isinstance(d, td.TransformedDistribution)
    for twin in (copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        assert torch.equal(twin.log_prob(LOC.exp()), d.log_prob(LOC.exp()))
    assert "TransformedDistribution(Normal" in repr(d)


def test_each_entry_of_a_decreasing_map_has_its_tails_exchanged():
    scale = torch.tensor([2.0, -2.0], dtype=torch.float64)
    d = TransformedDistribution(Gumbel(torch.zeros(2, dtype=torch.float64), 1.0), [ScalarAffine(scale, 1.0)])
    rising, falling = stats.gumbel_r(1, 2), stats.gumbel_l(1, 2)
    for x in (-60.0, 0.0, 1.0, 50.0):
        value = torch.full((2,), x, dtype=torch.float64)
        for ours, theirs in (("cdf", "cdf"), ("survival_function", "sf"), ("prob", "pdf")):
            exact = [getattr(rising, theirs)(x), getattr(falling, theirs)(x)]
            assert_relatively_close(getattr(d, ours)(value), exact, 1e-11)
        assert_relatively_close(d.log_cdf(value), [rising.logcdf(x), falling.logcdf(x)], 1e-11)
    for p in (1e-40, 0.1, 0.3, 0.9):
        level = torch.full((2,), p, dtype=torch.float64)
        assert_relatively_close(d.icdf(level), [rising.ppf(p), falling.ppf(p)], 1e-11)
    torch.testing.assert_close(d.mean, torch.tensor([rising.mean(), falling.mean()], dtype=torch.float64))
    torch.testing.assert_close(d.variance, torch.tensor([rising.var()] * 2, dtype=torch.float64))
    torch.testing.assert_close(d.mode, torch.ones(2, dtype=torch.float64))
    assert_follows(d.sample((4000,), generator=kernels.Key(1))[:, 1], falling.cdf)


def test_quantiles_of_a_decreasing_map_have_gradients():
    def quantile(level, scale):
        return TransformedDistribution(Exponential(scale.abs()), [Scale(scale)]).icdf(level)

    level = torch.tensor([0.01, 0.6], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([-2.0, -0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quantile, (level, scale))


def test_the_support_is_the_image_of_the_bases():
    d = TransformedDistribution(Uniform(0.0, 1.0), [ScalarAffine(-2.0, 1.0)])
    assert (float(d.support.lower_bound), float(d.support.upper_bound)) == (-1.0, 1.0)
    assert d.cdf(torch.tensor([-2.0, 0.5, 2.0])).tolist() == [0.0, 0.75, 1.0]
    assert [float(d.icdf(p)) for p in (0.0, 1.0)] == [-1.0, 1.0]
    assert float(d.entropy()) == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="value of TransformedDistribution must satisfy image of Interval"):
        d.log_prob(torch.tensor(1.5))
    onto = bijector_to(d.support)
    assert bool(d.support.check(onto(torch.linspace(-5, 5, 11))).all())
    shifted = TransformedDistribution(Normal(0.0, 15.0), [Exp(), Shift(1.0)])
    draws = shifted.sample((200,), generator=torch.Generator().manual_seed(0))
    # Some round to the bound of the open support.
    assert bool((draws == 1).any())
    assert bool(shifted.log_prob(draws).isfinite().all())
    assert TransformedDistribution(Normal(0.0, 1.0), [Exp()]).support is Exp().codomain


def test_affine_maps_of_vectors():
    scale_tril = torch.tensor([[1.5, 0.0], [-0.7, 0.4]], dtype=torch.float64)
    loc = torch.tensor([1.0, 2.0], dtype=torch.float64)
    d = TransformedDistribution(Normal(torch.zeros(2).double(), 1.0), [ScaleMatvecTriL(scale_tril), Shift(loc)])
    exact = td.MultivariateNormal(loc, scale_tril=scale_tril)
    y = torch.tensor([[0.3, 1.0], [5.0, -2.0]], dtype=torch.float64)
    torch.testing.assert_close(d.log_prob(y), exact.log_prob(y))
    torch.testing.assert_close(d.entropy(), exact.entropy())
    torch.testing.assert_close(d.mean, exact.mean)
    torch.testing.assert_close(d.mode, exact.mean)
    assert (d.batch_shape, d.event_shape) == ((), (2,))
    with pytest.raises(NotImplementedError, match=r"variance has no closed form, and events of shape \(2,\)"):
        d.variance  # noqa: B018
    with pytest.raises(NotImplementedError, match="vectors have no order"):
        d.cdf(y)
    mixed = TransformedDistribution(Normal(loc, loc), [Permute([1, 0]), Scale(2.0).inv, Reshape((2,), (1, 2))])
    torch.testing.assert_close(mixed.variance, (loc.flip(0) ** 2 / 4).unsqueeze(0))
    torch.testing.assert_close(mixed.mean, (loc.flip(0) / 2).unsqueeze(0))


def test_independent_entries_keep_their_integrals():
    d = TransformedDistribution(Normal(LOC, SCALE).to_event(1), [Exp()])
    entries = log_normal()
    assert (d.batch_shape, d.event_shape) == ((), (2,))
    torch.testing.assert_close(d.mean, entries.mean)
    torch.testing.assert_close(d.variance, entries.variance)
    torch.testing.assert_close(d.mode, entries.mode)
    torch.testing.assert_close(d.entropy(), entries.entropy().sum())
    torch.testing.assert_close(d.log_prob(LOC.exp()), entries.log_prob(LOC.exp()).sum())


def test_events_grow_and_change_shape_with_the_bijector():
    d = TransformedDistribution(Normal(torch.zeros(4, 2), 1.0), [SoftmaxCentered()])
    assert (d.batch_shape, d.event_shape) == ((4,), (3,))
    draws = d.sample((5,))
    torch.testing.assert_close(draws.sum(-1), torch.ones(5, 4))
    assert d.log_prob(draws).shape == (5, 4)
    wide = d.expand((6, 4))
    assert wide.sample().shape == (6, 4, 3)
    torch.testing.assert_close(wide.log_prob(draws[0]), d.log_prob(draws[0]).expand(6, 4))
    with pytest.raises(NotImplementedError, match="out of reach of quadrature"):
        d.mean  # noqa: B018


def test_parameters_of_bijectors_broadcast_the_base():
    d = TransformedDistribution(Normal(0.0, 1.0), [ScalarAffine(torch.ones(3, 1), torch.zeros(2)), Exp()])
    assert d.batch_shape == (3, 2)
    assert d.sample((4,)).shape == (4, 3, 2)
    assert len({float(v) for v in d.sample().flatten()}) == 6
    with pytest.raises(ValueError, match=r"broadcast the event of Independent from \(1,\) to \(2,\)"):
        TransformedDistribution(Normal(torch.zeros(1), 1.0).to_event(1), [Shift(torch.zeros(2))])


def test_torchs_transforms_are_taken_in():
    transforms = [
        td.AffineTransform(1.0, torch.tensor([2.0, -3.0])),
        td.transforms.ComposeTransform([td.SoftplusTransform(), td.AffineTransform(0.0, 2.0)]),
    ]
    d = TransformedDistribution(td.Normal(torch.zeros(2), 1.0), transforms)
    exact = td.TransformedDistribution(td.Normal(torch.zeros(2), 1.0), transforms)
    y = torch.tensor([0.5, 4.0])
    torch.testing.assert_close(d.log_prob(y), exact.log_prob(y))
    torch.testing.assert_close(d.cdf(y), exact.cdf(y))
    torch.testing.assert_close(d.icdf(torch.tensor(0.3)), exact.icdf(torch.tensor(0.3)))
    inverse = TransformedDistribution(Exponential(1.0), [td.ExpTransform().inv])
    torch.testing.assert_close(inverse.log_prob(torch.tensor(0.5)), 0.5 - torch.tensor(0.5).exp())
    event = TransformedDistribution(
        Normal(torch.zeros(2), 1.0), [td.IndependentTransform(td.SigmoidTransform(), 1), td.StickBreakingTransform()]
    )
    assert event.event_shape == (3,)
    with pytest.raises(TypeError, match="AbsTransform has no inverse"):
        TransformedDistribution(Normal(0.0, 1.0), [td.AbsTransform()])
    with pytest.raises(TypeError, match="transforms must be bijectors, but one is a float"):
        TransformedDistribution(Normal(0.0, 1.0), [1.0])


def test_what_a_bijector_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"map GreaterThan\(lower_bound=0.0\), but Normal has the support Real"):
        TransformedDistribution(Normal(0.0, 1.0), [Exp().inv])
    with pytest.raises(ValueError, match="has the support IntegerInterval"):
        TransformedDistribution(Categorical(torch.ones(2)), [Exp()])
    with pytest.raises(NotImplementedError, match="fit does not know the base's family"):
        TransformedDistribution.fit(torch.zeros(3))
    with pytest.raises(TypeError, match="torch.distributions.Distribution is needed"):
        TransformedDistribution(1.0, [Exp()])


def test_a_map_that_is_not_monotone_has_no_tails():
    learned = Trainable(lambda shift: Shift(shift), shift=torch.zeros(()))
    with pytest.raises(NotImplementedError, match=r"cdf is refused: .*not known to be monotone"):
        TransformedDistribution(Normal(0.0, 1.0), [learned]).cdf(torch.tensor(0.0))


def test_kl_of_equal_maps_is_that_of_the_bases():
    p, q = (TransformedDistribution(Normal(m, s), [Scale(LOC), Exp()]) for m, s in ((LOC, SCALE), (0.0, 1.0)))
    torch.testing.assert_close(kl_divergence(p, q), kl_divergence(Normal(LOC, SCALE), Normal(0.0, 1.0)).double())
    flow = RealNVP(2)
    bases = [Normal(torch.zeros(2), s).to_event(1) for s in (1.0, 2.0)]
    torch.testing.assert_close(kl_divergence(flow(bases[0]), flow(bases[1])), kl_divergence(*bases))
    # Two ways to one distribution: the integral finds the closed form's value.
    left = TransformedDistribution(Normal(LOC, SCALE), [ScalarAffine(2.0, 1.0)])
    right = TransformedDistribution(Laplace(LOC, SCALE), [Scale(3.0)])
    torch.testing.assert_close(
        kl_divergence(left, right), kl_divergence(Normal(2 * LOC + 1, 2 * SCALE), Laplace(3 * LOC, 3 * SCALE))
    )
    with pytest.raises(NotImplementedError):
        kl_divergence(flow(bases[0]), RealNVP(2)(bases[1]))


def test_a_bijector_called_on_a_distribution_gives_one():
    assert type(Exp()(Normal(0.0, 1.0))) is TransformedDistribution
    d = Mixture([Exp()(Normal(0.0, 1.0)), td.LogNormal(1.0, 0.5)])
    assert float(d.cdf(d.icdf(torch.tensor(0.3)))) == pytest.approx(0.3, rel=1e-5)
    assert type(Identity()(Normal(0.0, 1.0)).to_event(0)) is TransformedDistribution


@pytest.mark.parametrize("make", [lambda: RealNVP(2), lambda: Flow([RealNVP(2), MAF(2)])])
def test_learned_flows_train_through_log_prob(make):
    torch.manual_seed(0)
    flow = make()
    base = Normal(torch.zeros(2), 1.0).to_event(1)
    data = torch.randn(256, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.3]]) + 2.0
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.003)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = -flow(base).log_prob(data).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert isinstance(flow, nn.Module)
    # A correlated normal fits these data; the standard normal at the start is far off.
    assert losses[-1] < losses[0] - 1


def test_draws_carry_gradients_to_base_and_bijector():
    scale = torch.tensor(2.0, requires_grad=True)
    loc = torch.tensor(0.5, requires_grad=True)
    d = TransformedDistribution(Normal(loc, 1.0), [Scale(scale)])
    draw = d.rsample(generator=kernels.Key(3))
    slopes = torch.autograd.grad(draw, (scale, loc))
    torch.testing.assert_close(slopes[0], (draw / scale).detach())
    torch.testing.assert_close(slopes[1], scale.detach())


def test_compiles_maps_and_stays_on_its_device():
    def both(loc, scale, y):
        d = TransformedDistribution(Normal(loc, 1.0), [Scale(scale), Softplus(), Scale(2.0)])
        return d.log_prob(y), d.sample((2,), generator=kernels.Key(4))

    arguments = torch.zeros(3), torch.ones(3), torch.full((3,), 0.7)
    eager = both(*arguments)
    torch.compiler.reset()
    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")(*arguments)
    for a, b in zip(compiled, eager, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(torch.vmap(lambda *a: both(*a)[0])(*arguments), eager[0])
    meta = TransformedDistribution(Uniform(*torch.tensor([[0.0], [1.0]], device="meta")), [Scale(-1.0)])
    x = meta.sample((2,))
    assert {t.device.type for t in (x, meta.log_prob(x), meta.cdf(x), meta.mean)} == {"meta"}


def test_densities_have_gradients_in_all_parameters():
    def log_prob(loc, scale, shift, y):
        return TransformedDistribution(Normal(loc, 1.3), [Scale(scale), Exp(), Shift(shift), Sigmoid()]).log_prob(y)

    values = (0.3, -1.2, 0.5, 0.9)
    assert torch.autograd.gradcheck(
        log_prob, tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values)
    )


def test_sums_of_draws_are_events():
    walk = TransformedDistribution(Independent(Normal(torch.zeros(3), 1.0), 1), [CumSum()])
    y = torch.tensor([1.0, 1.5, 0.0])
    torch.testing.assert_close(walk.log_prob(y), Normal(0.0, 1.0).log_prob(torch.tensor([1.0, 0.5, -1.5])).sum())
