"""What `predict` says of a network: the decomposition, its sources, and what it refuses."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity import nn as bnn
from posterity.kernels import Key

pytestmark = pytest.mark.filterwarnings("ignore:.*has never been trained")


class Draws(nn.Module):
    """A network that answers the protocol with the draws that it was given."""

    def __init__(self, draws):
        super().__init__()
        self.draws, self.asked = draws, []

    def predictive_draws(self, x, num_samples, generator):
        self.asked.append((num_samples, generator))
        return self.draws


class Output(nn.Module):
    """A Bayesian layer whose output is made into something else."""

    def __init__(self, make=lambda y: y, features=2, **keywords):
        super().__init__()
        self.layer = bnn.Linear(3, features, **keywords)
        self.make = make

    def forward(self, x):
        return self.make(self.layer(x))


X = torch.linspace(-1, 1, 12).reshape(4, 3)


def trained(net: nn.Module) -> nn.Module:
    """A network whose spreads differ, as training leaves them."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("rho"):
                p.add_(torch.rand_like(p))
    return net


class TestClassification:
    @pytest.mark.parametrize("dims", [(), (3,), (2, 3)], ids=["vectors", "sequences", "images"])
    def test_decomposition_by_brute_force(self, dims):
        logits = 2 * torch.randn(7, 4, 5, *dims, dtype=torch.float64)
        p = pt.predict(Draws(logits), X, 7, task="classification")
        probs = logits.softmax(2)
        mean = probs.mean(0)
        joint = probs / 7  # over draw and class
        information = (joint * (joint / (mean / 7)).log()).sum((0, 2))
        torch.testing.assert_close(p.mean, mean)
        torch.testing.assert_close(p.epistemic, information)
        torch.testing.assert_close(p.aleatoric, -(probs * probs.log()).sum(2).mean(0))
        torch.testing.assert_close(p.total, -(mean * mean.log()).sum(1))
        torch.testing.assert_close(p.total, p.distribution.entropy())
        assert p.epistemic.shape == p.aleatoric.shape == p.distribution.batch_shape == (4, *dims)
        torch.testing.assert_close(p.distribution.probs, mean.movedim(1, -1))

    def test_draws_that_agree_know_all_that_can_be_known(self):
        logits = torch.randn(1, 4, 5).expand(6, 4, 5)
        with pytest.warns(UserWarning, match="all draws of the network are the same"):
            p = pt.predict(Draws(logits), X, 6, task="classification")
        assert p.epistemic.eq(0).all()
        torch.testing.assert_close(p.aleatoric, dist.Categorical(logits=logits[0]).entropy())

    def test_certain_draws_that_disagree_are_all_epistemic(self):
        logits = torch.full((2, 4, 2), -1e4)
        logits[0, :, 0] = logits[1, :, 1] = 0
        p = pt.predict(Draws(logits), X, 2, task="classification")
        torch.testing.assert_close(p.epistemic, torch.full((4,), math.log(2)))
        assert p.aleatoric.eq(0).all()

    def test_epistemic_is_never_negative(self):
        logits = 1e-4 * torch.randn(5, 4, 10)
        assert (pt.predict(Draws(logits), X, 5, task="classification").epistemic >= 0).all()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_logits_are_decomposed_in_float32(self, dtype):
        p = pt.predict(Draws(torch.randn(5, 4, 3).to(dtype)), X, 5, task="classification")
        assert p.mean.dtype == torch.float32
        torch.testing.assert_close(p.mean.sum(1), torch.ones(4))

    @pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 5, 2), (3,)])
    def test_an_output_that_does_not_fit(self, shape):
        with pytest.raises(ValueError, match=r"must return logits \[batch, classes, ...\] with at least two classes"):
            pt.predict(Draws(torch.randn(shape)), X, 3, task="classification")

    def test_an_output_that_is_no_logits(self):
        for draws in ((torch.ones(3, 4, 2), torch.ones(3, 4, 2)), torch.ones(3, 4, 2).int(), [dist.Normal(0.0, 1.0)]):
            with pytest.raises(ValueError, match="must return one tensor of logits"):
                pt.predict(Draws(draws), X, 3, task="classification")


class TestRegression:
    @pytest.mark.parametrize("event", [(), (1,), (2, 3)], ids=["scalars", "columns", "images"])
    def test_decomposition_is_that_of_the_mixture(self, event):
        means, scales = torch.randn(7, 4, *event).double(), torch.rand(7, 4, *event).double() + 0.1
        p = pt.predict(Draws((means, scales)), X, 7, task="regression")
        torch.testing.assert_close(p.mean, means.mean(0))
        torch.testing.assert_close(p.epistemic, means.var(0, correction=0))
        torch.testing.assert_close(p.aleatoric, scales.square().mean(0))
        torch.testing.assert_close(p.total, p.distribution.variance)
        torch.testing.assert_close(p.mean, p.distribution.mean)
        y = torch.randn(4, *event, dtype=torch.float64)
        each = torch.distributions.Normal(means, scales).log_prob(y)
        torch.testing.assert_close(p.distribution.log_prob(y), each.logsumexp(0) - math.log(7))

    @pytest.mark.parametrize(
        "kind", [dist.Normal, torch.distributions.Normal, dist.Laplace, torch.distributions.Gumbel]
    )
    def test_a_network_that_returns_distributions(self, kind):
        net = trained(Output(lambda y: kind(y, y.exp())))
        p = pt.predict(net, X, 9, task="regression", generator=torch.Generator().manual_seed(1))
        assert p.mean.shape == p.epistemic.shape == p.aleatoric.shape == (4, 2)
        torch.testing.assert_close(p.total, p.distribution.variance)
        torch.testing.assert_close(p.mean, p.distribution.mean)
        assert p.distribution.cdf(p.mean).sub(0.5).abs().max() < 0.4

    def test_a_network_that_returns_vectors(self):
        net = trained(Output(lambda y: torch.distributions.Independent(torch.distributions.Normal(y, 0.5), 1)))
        p = pt.predict(net, X, 9, task="regression")
        assert p.mean.shape == p.epistemic.shape == (4, 2)
        torch.testing.assert_close(p.aleatoric, torch.full((4, 2), 0.25))
        assert p.distribution.log_prob(torch.zeros(4, 2)).shape == (4,)

    def test_likelihood_as_a_number_and_as_a_function(self):
        means = torch.randn(7, 4, 2)
        number = pt.predict(Draws(means), X, 7, task="regression", likelihood=0.3)
        normal = pt.predict(Draws(means), X, 7, task="regression", likelihood=lambda m: dist.Normal(m, 0.3))
        laplace = pt.predict(Draws(means), X, 7, task="regression", likelihood=lambda m: dist.Laplace(m, 0.3))
        torch.testing.assert_close(number.aleatoric, torch.full((4, 2), 0.09))
        torch.testing.assert_close(normal.total, number.total)
        torch.testing.assert_close(laplace.aleatoric, torch.full((4, 2), 2 * 0.09))
        torch.testing.assert_close(laplace.epistemic, number.epistemic)
        y = torch.zeros(4, 2)
        torch.testing.assert_close(normal.distribution.log_prob(y), number.distribution.log_prob(y))
        assert not torch.allclose(laplace.distribution.log_prob(y), number.distribution.log_prob(y))

    def test_a_bare_mean_without_noise(self):
        with pytest.raises(ValueError, match=r"returned a bare mean.*Give likelihood="):
            pt.predict(Output(), X, 3, task="regression")

    def test_noise_given_twice(self):
        with pytest.raises(ValueError, match="likelihood= is for a network that returns a bare mean"):
            pt.predict(Output(lambda y: (y, y.exp())), X, 3, task="regression", likelihood=0.1)

    def test_a_likelihood_that_is_none(self):
        with pytest.raises(TypeError, match="likelihood must return a Distribution, got Tensor"):
            pt.predict(Output(), X, 3, task="regression", likelihood=lambda m: m)
        for wrong in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="likelihood= as a standard deviation must be positive"):
                pt.predict(Output(), X, 3, task="regression", likelihood=wrong)
        with pytest.raises(ValueError, match="likelihood= is for task='regression'"):
            pt.predict(Output(), X, 3, task="classification", likelihood=0.1)

    def test_means_and_scales_that_do_not_fit(self):
        with pytest.raises(ValueError, match=r"\(mean, scale\) of one shape, got shapes \[\[4, 2\], \[4, 1\]\]"):
            pt.predict(Draws((torch.ones(3, 4, 2), torch.ones(3, 4, 1))), X, 3, task="regression")
        with pytest.raises(ValueError, match=r"\(mean, scale\) of one shape"):
            pt.predict(Draws((torch.ones(3, 4, 2),) * 3), X, 3, task="regression")
        with pytest.raises(ValueError, match="scale must be positive, got a smallest value of -1"):
            pt.predict(Draws((torch.ones(3, 4, 2), -torch.ones(3, 4, 2))), X, 3, task="regression")
        with pytest.raises(ValueError, match=r"mean of shape \[5\] for a batch of 4 examples"):
            pt.predict(Draws((torch.ones(3, 5), torch.ones(3, 5))), X, 3, task="regression")


class TestDraws:
    def test_a_protocol_of_its_own_is_asked(self):
        net, generator = Draws(torch.randn(3, 4, 2)), torch.Generator()
        pt.predict(net, X, 3, task="classification", generator=generator)
        assert net.asked == [(3, generator)]

    def test_a_protocol_of_its_own_on_a_bayesian_layer_is_asked(self):
        class Own(bnn.Linear):
            def predictive_draws(self, x, num_samples, generator=None):
                return torch.arange(num_samples * 1.0)[:, None, None] * torch.tensor([0.0, 1.0]).expand(len(x), 2)

        p = pt.predict(Own(3, 2), X, 2, task="classification")
        expected = (torch.tensor([0.0, 0.0]).softmax(0) + torch.tensor([0.0, 1.0]).softmax(0)) / 2
        torch.testing.assert_close(p.mean, expected.expand(4, 2))

    def test_the_protocol_of_a_converted_network_is_predicts_own(self):
        net = trained(pt.bayesianize(nn.Linear(3, 2)))
        draws = net.predictive_draws(X, 5, torch.Generator().manual_seed(0)).detach()
        p = pt.predict(net, X, 5, task="classification", generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(p.mean, draws.softmax(-1).mean(0))

    @pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
    @pytest.mark.parametrize("joint", [True, False])
    @pytest.mark.parametrize("make", [Key, lambda seed: torch.Generator().manual_seed(seed)], ids=["key", "generator"])
    def test_a_generator_decides_and_the_global_stream_stays(self, estimator, joint, make):
        net = trained(Output(estimator=estimator))
        before = torch.get_rng_state()
        first, again, other = (
            pt.predict(net, X, 5, task="classification", joint=joint, generator=make(seed)).mean for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), before)

    def test_without_a_generator_the_global_stream_decides(self):
        net = trained(Output())
        torch.manual_seed(3)
        first = pt.predict(net, X, 5, task="classification").mean
        torch.manual_seed(3)
        assert torch.equal(pt.predict(net, X, 5, task="classification").mean, first)
        assert not torch.equal(pt.predict(net, X, 5, task="classification").mean, first)

    @pytest.mark.parametrize("estimator", ["reparam", "flipout", "local"])
    @pytest.mark.parametrize("joint", [True, False])
    def test_joint_draws_are_one_function_for_all_examples(self, estimator, joint):
        net = trained(Output(estimator=estimator))
        mean = pt.predict(net, X[:1].expand(4, 3), 6, task="classification", joint=joint).mean
        assert torch.allclose(mean, mean[:1].expand_as(mean)) == (joint or estimator == "reparam")

    def test_inputs_may_be_a_tuple_or_a_mapping(self):
        net = trained(pt.bayesianize(nn.Bilinear(3, 3, 2)))
        for x in ((X, X), {"input1": X, "input2": X}):
            assert pt.predict(net, x, 3, task="classification").mean.shape == (4, 2)

    def test_tokens_are_an_input(self):
        net = trained(pt.bayesianize(nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))))
        assert pt.predict(net, torch.tensor([[1, 2], [3, 4]]), 3, task="classification").mean.shape == (2, 3)

    def test_objects_with_logits_are_an_output(self):
        class Answer:
            def __init__(self, logits):
                self.logits = logits

        assert pt.predict(trained(Output(Answer)), X, 3, task="classification").mean.shape == (4, 2)

    def test_a_compiled_wrapper_is_asked_like_the_network(self):
        net = trained(Output())
        compiled = torch.compile(net, backend="eager")
        for joint in (True, False):
            p = pt.predict(compiled, X, 8, task="classification", joint=joint)
            assert (p.epistemic > 0).all()
        torch._dynamo.reset()

    @pytest.mark.parametrize("task", ["classification", "regression"])
    def test_dtype_is_kept_and_nothing_needs_a_gradient(self, task):
        net = trained(Output(dtype=torch.float64))
        likelihood = 0.1 if task == "regression" else None
        p = pt.predict(net, X.double(), 3, task=task, likelihood=likelihood)
        for tensor in (p.mean, p.epistemic, p.aleatoric):
            assert tensor.dtype == torch.float64
            assert not tensor.requires_grad


class TestMode:
    def net(self) -> nn.Module:
        net = nn.Sequential(bnn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Sequential(nn.Linear(4, 2)))
        return trained(net)

    def test_every_submodule_gets_its_mode_back(self):
        net = self.net().train()
        net[1].eval()
        net[3][0].eval()
        before = [m.training for m in net.modules()]
        seen = []
        net[3].register_forward_hook(lambda m, *_: seen.append([m.training for m in net.modules()]))
        pt.predict(net, X, 3, task="classification")
        assert [m.training for m in net.modules()] == before
        assert not any(any(modes) for modes in seen)
        assert net[1].num_batches_tracked == 0

    def test_also_after_an_error(self):
        net = self.net().train()
        with pytest.raises(RuntimeError):
            pt.predict(net, torch.ones(4, 5), 3, task="classification")
        assert all(m.training for m in net.modules())


class TestWarnings:
    @pytest.mark.filterwarnings("default")
    def test_a_network_that_was_never_trained(self):
        net = pt.bayesianize(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
        with pytest.warns(UserWarning, match="has never been trained as a Bayesian network") as caught:
            pt.predict(net, X, 3, task="classification")
        assert [w.filename for w in caught] == [__file__]
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            pt.elbo_loss(net, net(X).square().mean(), num_data=4).backward()
            optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pt.predict(net, X, 3, task="classification")

    @pytest.mark.filterwarnings("default")
    def test_a_network_in_which_nothing_is_random(self):
        net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
        with pytest.warns(
            UserWarning, match=r"all draws .* are the same.*Convert it with posterity.bayesianize"
        ) as caught:
            pt.predict(net, X, 3, task="classification")
        assert [w.filename for w in caught] == [__file__]
        with pytest.warns(UserWarning, match="all draws of the network are the same"):
            pt.predict(net, X, 3, task="regression", likelihood=0.1)

    def test_one_draw_is_no_reason_to_warn(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pt.predict(trained(Output()), X, 1, task="classification")


class TestRefusals:
    @pytest.mark.parametrize("module", [None, 3, lambda x: x])
    def test_what_is_no_module(self, module):
        with pytest.raises(TypeError, match="predict: module must be a torch.nn.Module, got"):
            pt.predict(module, X, task="classification")

    @pytest.mark.parametrize("num_samples", [0, -1, 2.0, True, None])
    def test_num_samples(self, num_samples):
        with pytest.raises(ValueError, match="predict: num_samples must be a whole number of at least 1, got"):
            pt.predict(Output(), X, num_samples, task="classification")

    def test_an_unknown_task(self):
        with pytest.raises(ValueError, match="task must be 'classification' or 'regression', got 'ranking'"):
            pt.predict(Output(), X, task="ranking")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    @pytest.mark.parametrize(
        "wrap", [lambda x: x, lambda x: (x,), lambda x: {"x": x}], ids=["bare", "tuple", "mapping"]
    )
    def test_nan_in_x(self, bad, wrap):
        x = X.clone()
        x[1, 2] = x[3, 0] = bad
        with pytest.raises(ValueError, match="predict: x has 2 values that are NaN or infinite"):
            pt.predict(Output(), wrap(x), task="classification")

    @pytest.mark.parametrize("x", [torch.zeros(0, 3), torch.tensor(1.0)])
    def test_no_example(self, x):
        with pytest.raises(ValueError, match="x must be a batch .* of at least one example, the batch first"):
            pt.predict(Output(), x, task="classification")

    @pytest.mark.parametrize("x", [[1.0], (), {}, (1, 2), np.ones((2, 3))])
    def test_no_tensor(self, x):
        with pytest.raises(TypeError, match="x must hold a tensor, got .*; use torch.as_tensor"):
            pt.predict(Output(), x, task="classification")

    def test_a_likelihood_that_is_none(self):
        with pytest.raises(TypeError, match="likelihood= must be a function from the mean .*, or a number, got '0.1'"):
            pt.predict(Output(), X, task="regression", likelihood="0.1")

    @pytest.mark.parametrize("generator", [3, "seed"])
    def test_what_is_no_generator(self, generator):
        with pytest.raises(TypeError, match="generator must be a torch.Generator or a posterity.kernels.Key"):
            pt.predict(Output(), X, task="classification", generator=generator)

    @pytest.mark.parametrize("task", ["classification", "regression"])
    def test_a_network_that_returns_nan(self, task):
        net = Output(lambda y: y * float("nan"))
        with pytest.raises(ValueError, match="predict: the network returned NaN or infinite values"):
            pt.predict(net, X, 3, task=task, likelihood=0.1 if task == "regression" else None)

    def test_a_network_that_returns_something_else(self):
        with pytest.raises(TypeError, match="the network returned dict; a prediction needs a tensor"):
            pt.predict(Output(lambda y: {"mean": y}), X, 3, task="regression")

    def test_nothing_is_run_before_the_checks(self):
        net = Output(lambda y: pytest.fail("the network ran"))
        x = X.clone()
        x[0, 0] = float("nan")
        for arguments in ({"x": x}, {"x": X, "num_samples": 0}, {"x": X, "likelihood": 0.1}):
            with pytest.raises(ValueError, match="predict: "):
                pt.predict(net, task="classification", **arguments)


def test_infinity_is_allowed_where_it_means_something():
    class Masked(nn.Module):
        def predictive_draws(self, x, num_samples, generator=None):
            x, mask = x
            return torch.randn(num_samples, len(x), 3) + mask

    mask = torch.tensor([0.0, 0.0, -float("inf")])
    p = pt.predict(Masked(), (torch.zeros(4, 2), mask), task="classification")
    assert (p.mean[:, 2] == 0).all()
    assert p.epistemic.isfinite().all()
    assert p.aleatoric.isfinite().all()
    torch.testing.assert_close(p.distribution.entropy(), p.total, rtol=1e-4, atol=1e-5)


def test_a_numpy_integer_counts_draws():
    with pytest.warns(UserWarning, match="never been trained"):
        pt.predict(pt.bayesianize(nn.Linear(3, 2)), torch.ones(2, 3), np.int64(3), task="classification")
