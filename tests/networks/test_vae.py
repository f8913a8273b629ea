"""The variational autoencoder: its bound beside closed forms and its programs, its variants, and what it refuses."""

import math

import pytest
import torch
from torch import nn

import posterity as pt
from posterity.networks import (
    VAE,
    CategoricalFamily,
    DiscretizedLogisticLikelihood,
    MixturePrior,
    RelaxedCategoricalFamily,
    VampPrior,
)
from tests.statistical import assert_same_mean, assert_uncorrelated

infer = pt.infer
B = pt.bijectors
WIDTH, PIXELS, CODES = 8, 12, 3


def networks() -> tuple[nn.Module, nn.Module]:
    return nn.Sequential(nn.Linear(PIXELS, WIDTH), nn.Tanh()), nn.Sequential(nn.Tanh(), nn.Linear(WIDTH, PIXELS))


def autoencoder(**options) -> VAE:
    return VAE(*networks(), WIDTH, CODES, **options)


def bits(number=40) -> torch.Tensor:
    return (torch.rand(number, PIXELS) < 0.3).float()


VARIANTS = {
    "plain": ({}, None),
    "beta": ({}, infer.ELBO(kl_weight=4.0)),
    "particles": ({}, infer.ELBO(5)),
    "sampled KL": ({}, infer.ELBO(closed_form_kl=False)),
    "sticking the landing": ({}, infer.ELBO(sticking_the_landing=True)),
    "importance-weighted": ({}, infer.IWAE(5, plate="data")),
    "doubly reparameterized": ({}, infer.IWAE(5, plate="data", doubly_reparameterized=True)),
    "Renyi": ({}, infer.RenyiELBO(0.5, 5, plate="data")),
    "VampPrior": ({"prior": lambda: VampPrior(bits(7))}, None),
    "mixture prior": ({"prior": lambda: MixturePrior(7, CODES)}, None),
    "coupling prior": ({"prior": lambda: B.RealNVP(CODES, 2, (8,))}, None),
    "inverse autoregressive": ({"posterior": lambda: B.IAF(CODES, 2, (8,), context_features=WIDTH)}, None),
    "planar": ({"posterior": lambda: B.Planar(CODES, context_features=WIDTH)}, None),
    "shared flow": ({"posterior": lambda: B.RealNVP(CODES, 2, (8,))}, None),
    "splines twice": (
        {
            "posterior": lambda: B.NeuralSplineFlow(CODES, 2, (8,), context_features=WIDTH),
            "prior": lambda: B.NeuralSplineFlow(CODES, 2, (8,)),
        },
        None,
    ),
    "bits, score function": ({"posterior": "bernoulli"}, None),
    "bits, VIMCO": ({"posterior": "bernoulli"}, infer.VIMCO(5, plate="data")),
    "classes, VIMCO": ({"posterior": lambda: CategoricalFamily(4)}, infer.VIMCO(5, plate="data")),
    "relaxed bits": ({"posterior": "relaxed_bernoulli"}, None),
    "relaxed classes": ({"posterior": lambda: RelaxedCategoricalFamily(4)}, None),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_is_the_objective_of_model_and_guide_a_datum(name):
    options, objective = VARIANTS[name]
    vae = autoencoder(**{key: make() if callable(make) else make for key, make in options.items()})
    x = bits()
    with torch.no_grad():
        direct = torch.stack([vae.loss(x, objective=objective) for _ in range(100)])
        program = objective or infer.ELBO()
        by_program = torch.stack([program.loss(vae.model, vae.guide, x) / len(x) for _ in range(30)])
    assert_same_mean(direct, by_program)
    vae.loss(x, objective=objective).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())


LIKELIHOODS = {
    "gaussian": lambda: torch.randn(40, PIXELS),
    "continuous_bernoulli": lambda: torch.rand(40, PIXELS),
    "discretized_logistic": lambda: torch.randint(256, (40, PIXELS), dtype=torch.uint8),
}


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods_by_name_train_and_give_data_back(likelihood):
    vae, x = autoencoder(likelihood=likelihood), LIKELIHOODS[likelihood]()
    vae.loss(x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())
    assert vae.reconstruct(x).shape == x.shape
    drawn = vae.generate(5, draw=True)
    assert vae.encode(drawn).batch_shape == (5,)


def test_categorical_data_have_their_classes_on_dimension_one():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(WIDTH, 5 * PIXELS)

        def forward(self, hidden):
            return self.layer(hidden).reshape(-1, 5, PIXELS)

    encoder = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(4 * PIXELS, WIDTH))
    vae = VAE(encoder, Decoder(), WIDTH, CODES, likelihood="categorical")
    x = torch.randint(5, (40, PIXELS))
    vae.loss(x).backward()
    assert vae.reconstruct(x).unique().tolist() == [n for n in range(5) if n in vae.reconstruct(x)]
    assert vae.log_likelihood(x, num_importance_samples=10).shape == (40,)


def test_images_and_a_function_as_likelihood():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(WIDTH, 32), nn.Unflatten(1, (2, 4, 4)))

        def forward(self, hidden):
            return self.layers(hidden).chunk(2, dim=1)

    encoder = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, WIDTH))
    vae = VAE(encoder, Decoder(), WIDTH, 2, likelihood=lambda o: pt.distributions.Laplace(o[0], o[1].exp()))
    x = torch.randn(6, 1, 4, 4)
    vae.loss(x, objective=infer.IWAE(4)).backward()
    assert vae.generate(3).shape == (3, 1, 4, 4)
    assert vae.interpolate(x[:2], x[2:4], num=5).shape == (5, 2, 1, 4, 4)
    assert vae(x).event_shape == (1, 4, 4)


def test_masses_of_the_discretized_logistic_sum_to_one():
    likelihood = DiscretizedLogisticLikelihood(17)
    outputs = torch.tensor([[-6.0, 0.0, 2.0, 7.0]], dtype=torch.float64)
    levels = torch.arange(17.0, dtype=torch.float64)
    masses = likelihood.double().distribution(outputs, 1).log_prob(levels.reshape(-1, 1, 1)).exp()
    torch.testing.assert_close(masses.sum(0), torch.ones(1, 4, dtype=torch.float64))


def linear_autoencoder(x: torch.Tensor) -> tuple[VAE, torch.Tensor]:
    """One with linear networks, and the log density of data under probabilistic principal components."""
    loc, covariance = x.mean(0), x.T.cov(correction=0)
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(covariance))
    variance = values[CODES:].mean()
    weight = vectors[:, :CODES] * (values[:CODES] - variance).sqrt()
    vae = VAE(nn.Identity(), nn.Identity(), x.shape[1], CODES, likelihood="gaussian").double()
    marginal = torch.distributions.MultivariateNormal(loc, weight @ weight.T + variance * torch.eye(len(loc)).double())
    precision = weight.T @ weight / variance + torch.eye(CODES).double()
    assert (precision - precision.diag().diag()).abs().max() < 1e-9
    spread = precision.diag().rsqrt()
    with torch.no_grad():
        vae.from_code.weight.copy_(weight)
        vae.from_code.bias.copy_(loc)
        vae.likelihood.raw_scale.copy_((variance.sqrt() - 1e-4).expm1().log())
        to_mean = weight.T / variance * spread.square().unsqueeze(-1)
        vae.to_code.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
        rho = spread.expm1().log() - math.log(math.expm1(1.0))
        vae.to_code.bias.copy_(torch.cat([-to_mean @ loc, rho]))
    return vae, marginal.log_prob(x)


def some_data() -> torch.Tensor:
    mixing = torch.randn(CODES, 6, dtype=torch.float64)
    return torch.randn(300, CODES, dtype=torch.float64) @ mixing + 0.4 * torch.randn(300, 6, dtype=torch.float64) + 2.0


def test_bound_of_the_linear_autoencoder_is_the_evidence_of_principal_components():
    vae, exact = linear_autoencoder(x := some_data())
    # At the exact posterior every draw has the same weight: nothing is left to chance.
    torch.testing.assert_close(vae.log_likelihood(x, num_importance_samples=1), exact)
    loss = vae.loss(x, objective=infer.ELBO(closed_form_kl=False))
    torch.testing.assert_close(-loss, exact.mean())


def test_training_the_linear_autoencoder_finds_the_evidence_of_principal_components():
    vae, exact = linear_autoencoder(x := some_data())
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.2 * torch.randn_like(p))
        worse = -vae.loss(x)
    assert worse < exact.mean() - 0.1
    landing = infer.ELBO(sticking_the_landing=True)
    svi = infer.SVI(
        vae.model, vae.guide, torch.optim.Adam, {"lr": 0.02}, loss=landing, seed=0, progress=False, compile=False
    )
    svi.run(800, x)
    with torch.no_grad():
        bounds = -torch.stack([vae.loss(x, objective=infer.ELBO(closed_form_kl=False)) for _ in range(200)])
    # The evidence is the greatest value that the bound can have; two hundredths of a nat are left to the optimizer.
    error = 5 * bounds.std() / math.sqrt(200)
    assert exact.mean() - 0.02 - error < bounds.mean() < exact.mean() + error


def test_importance_weighted_bounds_tighten():
    vae, x = autoencoder(), bits()
    with torch.no_grad():
        vae.to_code.bias.normal_(std=0.5)
        bounds = [torch.stack([-vae.loss(x, objective=infer.IWAE(k)) for _ in range(200)]) for k in (1, 5, 50)]
    means = [float(bound.mean()) for bound in bounds]
    errors = [float(bound.std()) / math.sqrt(200) for bound in bounds]
    assert means[0] + 5 * errors[0] < means[1] - 5 * errors[1]
    assert means[1] + 5 * errors[1] < means[2] - 5 * errors[2]
    torch.testing.assert_close(
        float(vae.log_likelihood(x, num_importance_samples=5000).mean()), means[2], atol=0.05, rtol=0
    )


def test_log_likelihood_agrees_with_annealed_importance_sampling():
    vae, x = autoencoder().double(), bits(2).double()
    with torch.no_grad():
        vae.from_code.weight.mul_(4)  # a posterior that the encoder knows nothing of
    exact = vae.log_likelihood(x, num_importance_samples=200_000)
    for row, value in zip(x, exact, strict=True):
        annealed = infer.annealed_importance_sampling(
            vae.model, row[None], num_temperatures=50, num_chains=64, seed=0, progress=False, compile=False
        )
        assert (annealed.value - value).abs() < 4 * annealed.standard_error + 0.01


def test_log_likelihood_does_not_depend_on_how_it_is_cut():
    vae, exact = linear_autoencoder(x := some_data())
    torch.testing.assert_close(vae.log_likelihood(x[:70], num_importance_samples=40_000), exact[:70])


def test_compiled_steps_are_the_eager_ones():
    x = bits().double()
    losses = []
    for compiled in (False, True) if infer.capture.can_compile() else (False, False):
        torch.manual_seed(0)
        vae = autoencoder().double()
        svi = infer.SVI(vae.model, vae.guide, torch.optim.Adam, {"lr": 0.01}, seed=1, progress=False, compile=compiled)
        losses.append(svi.run(20, x).losses)
    torch.testing.assert_close(*losses, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("objective", [None, infer.IWAE(5)])
def test_loss_compiles_without_graph_breaks(objective):
    vae, x = autoencoder(), bits()
    compiled = torch.compile(vae.loss, fullgraph=True, backend="aot_eager")
    loss = compiled(x, objective=objective)
    loss.backward()
    assert loss.isfinite()


def test_subsampled_data_scale_the_bound_up():
    vae, x = autoencoder(), bits(10)
    with torch.no_grad():
        whole = torch.stack([infer.ELBO().loss(vae.model, vae.guide, x) for _ in range(100)])
        scaled = torch.stack([infer.ELBO().loss(vae.model, vae.guide, x, num_data=50) for _ in range(100)])
    assert_same_mean(5 * whole, scaled)


def test_bayesian_networks_inside_share_their_divergence_out():
    encoder, decoder = networks()
    vae = VAE(encoder, pt.bayesianize(decoder), WIDTH, CODES)
    x = bits()
    with pytest.raises(ValueError, match="num_data must be the size of the training set"):
        vae.loss(x)
    with pytest.raises(ValueError, match="Bayesian layers inside is trained by"):
        vae.model(x)
    torch.manual_seed(0)
    few = vae.loss(x, num_data=40)
    torch.manual_seed(0)
    many = vae.loss(x, num_data=80)
    torch.testing.assert_close(few - many, pt.nn.kl_divergence(vae) / 80, rtol=1e-4, atol=1e-4)


def test_state_dict_takes_everything_along():
    vae, other = (autoencoder(prior=MixturePrior(4, CODES), likelihood="gaussian") for _ in range(2))
    other.load_state_dict(vae.state_dict())
    x = torch.randn(5, PIXELS)
    a, b = (
        v.log_likelihood(x, num_importance_samples=10, generator=torch.Generator().manual_seed(0)) for v in (vae, other)
    )
    assert torch.equal(a, b)


def test_generating_leaves_the_mode_as_it_was():
    vae = autoencoder()
    vae.encoder.eval()
    vae.generate(2)
    assert vae.training
    assert not vae.encoder.training
    assert not any(p.grad is not None for p in vae.parameters())


def test_generators_decide_the_draws():
    vae, x = autoencoder(), bits(4)
    for ask in (
        lambda g: vae.generate(3, draw=True, generator=g),
        lambda g: vae.reconstruct(x, draw=True, generator=g),
        lambda g: vae.loss(x, generator=g),
        lambda g: vae.log_likelihood(x, num_importance_samples=3, generator=g),
    ):
        assert torch.equal(*(ask(torch.Generator().manual_seed(5)) for _ in range(2)))


BAD_MAKING = {
    "latent_size must be a whole number of at least 1, got 0": lambda: VAE(*networks(), WIDTH, 0),
    "hidden_size must be a whole number of at least 1": lambda: VAE(*networks(), -1, 2),
    "encoder must be a torch.nn.Module": lambda: VAE(torch.tanh, nn.Identity(), WIDTH, 2),
    "likelihood must be one of 'bernoulli'": lambda: autoencoder(likelihood="normal"),
    "likelihood must be a name": lambda: autoencoder(likelihood=3),
    "posterior must be one of 'normal'": lambda: autoencoder(posterior="gaussian"),
    "posterior must be a name": lambda: autoencoder(posterior=3),
    "prior must be a distribution over codes, a LatentPrior": lambda: autoencoder(prior="vamp"),
    r"with event_shape \(3,\) and no batch": lambda: autoencoder(prior=pt.distributions.Normal(0.0, 1.0)),
    "given as posterior does not take codes of size 3": lambda: autoencoder(posterior=B.IAF(2)),
    "given as posterior takes contexts of size 5, but must take the encoder's 8": lambda: autoencoder(
        posterior=B.IAF(CODES, context_features=5)
    ),
    "given as prior takes contexts of size 8, but must take none": lambda: autoencoder(
        prior=B.IAF(CODES, context_features=WIDTH)
    ),
    "levels of DiscretizedLogisticLikelihood": lambda: DiscretizedLogisticLikelihood(1),
    "num_categories of CategoricalFamily": lambda: CategoricalFamily(1),
    "temperature of RelaxedCategoricalFamily": lambda: RelaxedCategoricalFamily(3, 0.0),
    r"pseudo_inputs of VampPrior must be \[num": lambda: VampPrior(torch.zeros(3)),
    "pseudo_inputs of VampPrior must be a tensor": lambda: VampPrior([1.0]),
    "num_components of MixturePrior": lambda: MixturePrior(0, 2),
}


@pytest.mark.parametrize("message", BAD_MAKING)
def test_what_cannot_be_made_is_refused(message):
    with pytest.raises((ValueError, TypeError), match=message):
        BAD_MAKING[message]()


class Pair(nn.Module):
    def forward(self, hidden):
        return torch.zeros(len(hidden), PIXELS), torch.zeros(len(hidden), PIXELS)


BAD_DATA = {
    r"encoder must return a tensor \[batch, hidden_size\] = \[40, 7\], but returned \[40, 8\]": (
        lambda: VAE(*networks(), 7, 2),
        bits,
    ),
    "between 0 and 255, but it takes 0 or 1": (autoencoder, lambda: 255 * torch.eye(40, PIXELS)),
    "x holds NaN": (autoencoder, lambda: torch.full((40, PIXELS), math.nan)),
    r"must be a tensor \[batch, \*data_shape\], not of shape \[12\]": (autoencoder, lambda: torch.zeros(PIXELS)),
    "not a list": (autoencoder, lambda: [1.0]),
    r"describes data of shape \[11\], but x holds data of shape \[12\]": (
        lambda: VAE(networks()[0], nn.Linear(WIDTH, 11), WIDTH, 2),
        bits,
    ),
    "takes whole numbers from 0 to 16": (
        lambda: autoencoder(likelihood=DiscretizedLogisticLikelihood(17)),
        lambda: torch.full((40, PIXELS), 17),
    ),
    "likelihood must return a distribution": (lambda: autoencoder(likelihood=lambda o: o), bits),
    "the decoder was given 40 codes and must return tensors with as many rows": (
        lambda: VAE(networks()[0], nn.LSTM(WIDTH, PIXELS), WIDTH, 2),
        bits,
    ),
    "'bernoulli' takes a tensor from the decoder, not a tuple": (
        lambda: VAE(networks()[0], Pair(), WIDTH, 2),
        bits,
    ),
}


@pytest.mark.parametrize("message", BAD_DATA)
def test_bad_data_are_refused_before_training(message):
    make, data = BAD_DATA[message]
    vae = make()
    with pytest.raises((ValueError, TypeError), match=message):
        vae.loss(data())
    svi = infer.SVI(vae.model, vae.guide, torch.optim.Adam, progress=False)
    with pytest.raises((ValueError, TypeError), match=message):
        svi.run(5, data())


def test_requests_out_of_range_are_refused():
    vae, x = autoencoder(), bits(3)
    with pytest.raises(ValueError, match="num must be a whole number of at least 1"):
        vae.generate(0)
    with pytest.raises(ValueError, match="num_importance_samples must be"):
        vae.log_likelihood(x, num_importance_samples=0)
    with pytest.raises(ValueError, match="takes no condition y: ConditionalVAE does"):
        vae.loss(x, torch.zeros(3))
    with pytest.raises(ValueError, match="doubly_reparameterized|lets no gradient|VIMCO"):
        autoencoder(posterior="bernoulli").loss(x, objective=infer.IWAE(5))


def test_a_key_gives_other_numbers_to_each_part_of_an_estimate():
    key = pt.kernels.Key(0)
    vae, x = autoencoder(likelihood="gaussian"), torch.randn(1, PIXELS).expand(4, -1)
    many = vae.log_likelihood(x, num_importance_samples=20_000, generator=key)
    assert len(many.unique()) == 4  # the same datum four times, in four pieces
    few = vae.log_likelihood(x, num_importance_samples=16_384, generator=key)
    thrice = vae.log_likelihood(x, num_importance_samples=3 * 16_384, generator=key)
    assert (few - thrice).abs().max() > 1e-5


def test_a_key_gives_code_and_data_other_numbers():
    vae = VAE(nn.Identity(), nn.Identity(), CODES, CODES, likelihood="gaussian")
    with torch.no_grad():
        vae.from_code.weight.zero_()
        vae.from_code.bias.zero_()
    drawn = vae.generate(4000, draw=True, generator=pt.kernels.Key(0))
    code = vae.prior_distribution().sample((4000,), generator=pt.kernels.Key(0).split()[0])
    assert_uncorrelated(drawn, code)


def test_classes_relaxed_come_back_from_their_codes():
    vae, x = autoencoder(posterior=RelaxedCategoricalFamily(4)), bits(3)
    assert vae.reconstruct(x).shape == x.shape
    assert vae.interpolate(x[:1], x[1:2], num=4).shape == (4, 1, PIXELS)


def test_data_of_another_precision_become_the_models_own():
    vae, x = autoencoder(), bits(3)
    torch.manual_seed(0)
    single = vae.loss(x)
    torch.manual_seed(0)
    assert torch.equal(vae.loss(x.double()), single)


def test_a_tempered_bound_tempers_the_divergence_of_the_weights():
    encoder, decoder = networks()
    vae, x = VAE(encoder, pt.bayesianize(decoder), WIDTH, CODES), bits()
    losses = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        losses.append(vae.loss(x, num_data=40, objective=infer.ELBO(kl_weight=weight)))
    with torch.no_grad():
        codes = pt.distributions.kl_divergence(vae.encode(x), vae.prior_distribution()).mean()
    torch.testing.assert_close(losses[1] - losses[0], codes + pt.nn.kl_divergence(vae) / 40, rtol=1e-4, atol=1e-4)


def test_what_stands_for_no_likelihood_or_prior_is_refused_at_first_use():
    class Bare(nn.Module):
        def forward(self):
            return pt.distributions.Normal(torch.zeros(CODES), 1.0)

    with pytest.raises(
        ValueError, match=r"prior must be a distribution over codes, with event_shape \(3,\) and no batch"
    ):
        autoencoder(prior=Bare()).loss(bits(1))
    with pytest.raises(ValueError, match=r"has event_shape \(2,\)"):
        autoencoder(prior=MixturePrior(4, 2)).loss(bits(1))
    encoder, decoder = networks()
    with pytest.raises(ValueError, match=r"each draw of the Bayesian layers inside has a likelihood of its own"):
        VAE(encoder, pt.bayesianize(decoder), WIDTH, CODES).log_likelihood(bits(2))

    class Shared(nn.Module):
        def forward(self, hidden):
            return torch.zeros(len(hidden), PIXELS), torch.zeros(PIXELS)

    with pytest.raises(ValueError, match=r"must return tensors with as many rows, but one of them is \[12\]"):
        VAE(encoder, Shared(), WIDTH, CODES, likelihood="gaussian").loss(bits(3))
    with pytest.raises(ValueError, match=r"must be a tensor \[batch, \*data_shape\], not of shape \[0, 12\]"):
        autoencoder().loss(torch.zeros(0, PIXELS))
