"""Fitting flows: they find known densities on any scale, keep the best parameters, and refuse what has no density."""

import copy
import math

import pytest
import torch

from posterity.infer.capture import can_compile
from posterity.networks import MAF, NeuralSpline, RealNVP
from posterity.networks.flows import fitting
from tests.statistical import quantile


def _mixture():
    """Four modes on a scale far from 1."""
    centres = torch.tensor([[-2.0, -2.0], [2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]])
    parts = torch.distributions.MultivariateNormal(centres, torch.tensor([[0.3, 0.2], [0.2, 0.3]]))
    weights = torch.distributions.Categorical(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    mixture = torch.distributions.MixtureSameFamily(weights, parts)
    scale, loc = torch.tensor([1e3, 1e-2]), torch.tensor([1e5, 0.0])
    return torch.distributions.TransformedDistribution(
        mixture, [torch.distributions.AffineTransform(loc, scale, event_dim=1)]
    )


def _draws(truth, number, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return truth.sample((number,))


class _Banana:
    """x_1 normal, and x_2 normal around its square."""

    def sample(self, shape):
        x = torch.randn(*shape)
        return torch.stack([x, x.square() + 0.3 * torch.randn(*shape)], -1)

    def log_prob(self, x):
        first, second = x.unbind(-1)
        return torch.distributions.Normal(0.0, 1.0).log_prob(first) + torch.distributions.Normal(
            first.square(), 0.3
        ).log_prob(second)


@pytest.mark.parametrize(
    ("truth", "flow", "limit"),
    [
        (_mixture(), lambda: NeuralSpline(2, 3, (32, 32)), 0.1),
        (_Banana(), lambda: MAF(2, 1, (32,)), 0.06),
        (_Banana(), lambda: RealNVP(2, 4, (32,)), 0.06),
    ],
    ids=["four modes, spline", "banana, maf", "banana, real_nvp"],
)
def test_a_known_density_is_found_whatever_its_scale(truth, flow, limit):
    flow = flow()
    record = flow.fit(_draws(truth, 4000, 1), num_epochs=25, lr=5e-3, seed=0, progress=False, compile=False)
    x = _draws(truth, 4000, 2)
    with torch.no_grad():
        gap = truth.log_prob(x) - flow.log_prob(x)
    # KL(truth || flow), from draws of the truth; with its own standard error.
    error = float(gap.std()) / len(gap) ** 0.5
    assert float(gap.mean()) < limit
    # The losses are in nats of the raw data: the best one is the entropy plus the KL.
    entropy = -float(truth.log_prob(x).mean())
    spread = float(flow.log_prob(x).detach().std())
    deviation = spread * (400**-0.5 + 4000**-0.5) + error
    assert abs(record.best_loss - entropy - float(gap.mean())) < quantile() * deviation


def test_a_conditional_density_changes_with_its_context():
    stream = torch.Generator().manual_seed(0)
    c = torch.rand(4000, 1, generator=stream) * 4 + 10
    y = torch.sin(c) + (0.1 + 0.1 * (c - 10)) * torch.randn(4000, 1, generator=stream)
    flow = NeuralSpline(1, 2, (24, 24), context_features=1, autoregressive=True)
    flow.fit(y, c, num_epochs=30, lr=5e-3, seed=0, progress=False, compile=False)
    points = torch.linspace(-3, 3, 601).unsqueeze(-1)
    for at in (10.5, 12.0, 13.5):
        truth = torch.distributions.Normal(math.sin(at), 0.1 + 0.1 * (at - 10))
        with torch.no_grad():
            log_q = flow.log_prob(points, torch.tensor([at]))
        log_p = truth.log_prob(points.squeeze(-1))
        kl = torch.trapezoid(log_p.exp() * (log_p - log_q), points.squeeze(-1))
        assert float(kl) < 0.05


def test_counts_on_a_grid_are_fitted_with_their_spacing():
    stream = torch.Generator().manual_seed(0)
    x = torch.randint(0, 6, (1000, 2), generator=stream).float() * 3
    flow = RealNVP(2, 2, (8,))
    with pytest.raises(ValueError, match=r"columns \[0, 1\] of x are discrete: .* give the spacing .* as dequantize="):
        flow.fit(x, progress=False)
    record = flow.fit(x, dequantize=3.0, num_epochs=10, seed=0, progress=False, compile=False)
    # Uniform on [-1.5, 16.5]^2, whose entropy no density undercuts on average.
    assert record.best_loss > 2 * math.log(18.0) - 0.3
    mixed = torch.stack([x[:, 0], torch.randn(1000, generator=stream)], 1)
    flow.fit(mixed, dequantize=[3.0, 0.0], num_epochs=1, seed=0, progress=False, compile=False)


def test_the_same_seed_gives_the_same_flow_and_other_generators_are_left_alone():
    x = torch.randn(300, 2)
    before = torch.get_rng_state()
    found = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            flow = RealNVP(2, 2, (8,))
        record = flow.fit(x, num_epochs=3, seed=5, progress=False, compile=False)
        found.append((flow.log_prob(x), record.losses))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_flow_has_the_parameters_of_the_best_epoch():
    stream = torch.Generator().manual_seed(0)
    x, held_out = torch.randn(40, 3, generator=stream), torch.randn(2000, 3, generator=stream)
    flow = NeuralSpline(3, 2, (64,))
    record = flow.fit(x, validation=held_out, num_epochs=60, lr=1e-2, patience=5, seed=0, progress=False, compile=False)
    assert record.ended == "early"  # it learns 40 points by heart
    assert len(record.losses) == len(record.validation_losses) == record.best_epoch + 1 + 5
    with torch.no_grad():
        loss = -float(flow.log_prob(held_out).mean())
    assert loss == pytest.approx(record.best_loss, abs=1e-4)
    losses = record.validation_losses.tolist()
    assert record.best_epoch < 0 or record.best_loss == pytest.approx(min(losses), abs=1e-4)
    assert loss < losses[-1]
    assert not flow.training


def test_an_interrupted_fit_keeps_the_best_parameters_and_says_so(monkeypatch):
    class Interrupted(fitting.EagerSteps):
        calls = 0

        def take(self, *args):
            Interrupted.calls += 1
            if Interrupted.calls == 4:
                raise KeyboardInterrupt
            return super().take(*args)

    monkeypatch.setattr(fitting, "EagerSteps", Interrupted)
    x = torch.randn(400, 2) * torch.tensor([1.0, 100.0])
    flow = RealNVP(2, 2, (8,))
    again = copy.deepcopy(flow)
    told = pytest.warns(UserWarning, match="RealNVP.fit was interrupted in epoch 3: the flow has the best parameters")
    with told, pytest.raises(KeyboardInterrupt):
        flow.fit(x, validation=x[:100], num_epochs=50, seed=0, progress=False, compile=False)
    Interrupted.calls = -1000
    best = min(
        again.fit(x, validation=x[:100], num_epochs=50, seed=0, progress=False, compile=False).validation_losses[:3]
    )
    with torch.no_grad():
        assert -float(flow.log_prob(x[:100]).mean()) == pytest.approx(float(best), abs=1e-4)


def test_a_loss_that_is_not_finite_ends_the_fit_with_the_best_parameters(monkeypatch):
    class Broken(fitting.EagerSteps):
        def take(self, *args):
            return super().take(*args) * math.nan

    monkeypatch.setattr(fitting, "EagerSteps", Broken)
    flow = RealNVP(2, 1, (4,))
    with pytest.raises(FloatingPointError, match="RealNVP.fit: the loss is not finite in epoch 0; .* those before it"):
        flow.fit(torch.randn(100, 2), progress=False, compile=False)
    assert bool(flow.log_prob(torch.zeros(1, 2)).isfinite())


@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_compiled_steps_are_the_eager_ones():
    x, c = torch.randn(128, 2, dtype=torch.float64), torch.randn(128, 1, dtype=torch.float64)
    found = []
    for compiled in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            flow = RealNVP(2, 2, (4,), context_features=1).double()
        flow.fit(x, c, num_epochs=3, batch_size=16, seed=0, progress=False, compile=compiled)
        found.append(flow.log_prob(x, c).detach())
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-8)


def test_numbers_of_other_kinds_are_taken_in():
    flow = RealNVP(2, 1, (4,))
    record = flow.fit(torch.randn(50, 2).double().numpy(), num_epochs=1, progress=False, seed=0)
    assert record.losses.shape == (1,)


def test_data_without_a_density_is_refused_before_training():
    flow, conditional = RealNVP(2, 1, (4,)), RealNVP(2, 1, (4,), context_features=1)
    x = torch.randn(50, 2)
    cases = [
        ((x[:, :1],), ValueError, r"x of RealNVP.fit must have the shape \[num_rows, 2\], but has \[50, 1\]"),
        ((x[0],), ValueError, r"must have the shape \[num_rows, 2\], but has \[2\]"),
        (("abc",), TypeError, "x of RealNVP.fit must be a tensor or an array of numbers, not str"),
        ((x > 0,), TypeError, "must hold real numbers, not torch.bool"),
        ((x.index_fill(0, torch.tensor([7]), math.nan),), ValueError, "2 entries that are NaN .* in row 7, column 0"),
        ((x[:9],), ValueError, "has 8 rows to train on and 1 held out: too few for a density. It needs 10 and 1"),
        ((x * torch.tensor([1.0, 0.0]) + 3,), ValueError, r"columns \[1\] of x are constant. They have no density"),
        ((torch.where(x > 0.5, x, 0.0),), ValueError, r"columns \[0, 1\] of x are discrete"),
        ((x, x), ValueError, "RealNVP takes no context, but fit got one"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            flow.fit(*arguments, progress=False)
    with pytest.raises(ValueError, match="RealNVP is conditional: fit needs a context of 1 features for x"):
        conditional.fit(x, progress=False)
    with pytest.raises(ValueError, match=r"context of RealNVP.fit must have the shape \[num_rows, 1\]"):
        conditional.fit(x, x, progress=False)
    with pytest.raises(ValueError, match="x has 50 rows, but its context has 49"):
        conditional.fit(x, x[:49, :1], progress=False)
    with pytest.raises(ValueError, match="fit needs a context of 1 features for validation"):
        conditional.fit(x, x[:, :1], validation=x, progress=False)


def test_options_are_checked():
    flow, x = RealNVP(2, 1, (4,)), torch.randn(50, 2)
    for options, message in [
        ({"num_epochs": 0}, "RealNVP.fit: num_epochs must be a whole number of at least 1, not 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number of at least 1, not 1.5"),
        ({"patience": 0}, "patience must be a whole number of at least 1, not 0"),
        ({"lr": 0.0}, "lr must be positive, not 0.0"),
        ({"clip_norm": -1.0}, "clip_norm must be positive, not -1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or positive, not -1.0"),
        ({"compile": "yes"}, "compile must be True, False or 'auto', not 'yes'"),
        ({"validation": 1.5}, "validation must be a share of the rows between 0 and 1, or held-out rows, not 1.5"),
        ({"dequantize": -1.0}, "dequantize must be a spacing of at least 0, or one for each of 2 columns, not -1.0"),
        ({"dequantize": [1.0, 1.0, 1.0]}, "dequantize must be a spacing"),
    ]:
        with pytest.raises(ValueError, match=message):
            flow.fit(x, progress=False, **options)
    for parameter in flow.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the flow takes a gradient"):
        flow.fit(x, progress=False)
