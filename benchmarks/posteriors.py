"""The posteriors of `benchmarks.mcmc`: each a program for three languages, and a log density by hand for JAX."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

import posterity as pt


class Language(NamedTuple):
    """What a program is written in.

    Attributes:
        ppl: The module with `sample` and `plate`.
        dist: Its distributions.
        arrays: The module with its arrays' functions.
        array: From NumPy's array to its own.
    """

    ppl: Any
    dist: Any
    arrays: Any
    array: Callable[[np.ndarray], Any]


class Posterior(NamedTuple):
    """A model with its data.

    Attributes:
        program: Takes a language and the data, and runs the model.
        data: The data.
        log_density: Takes JAX's `numpy`, the data and one flat unconstrained vector: the log density up to a constant.
        dim: How many numbers the vector has.
    """

    program: Callable[..., None]
    data: tuple[np.ndarray, ...]
    log_density: Callable[..., Any]
    dim: int

    def model(self, language: Language) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """The program in a language, and its arguments."""
        return lambda *data: self.program(language, *data), tuple(map(language.array, self.data))


def ours() -> Language:
    return Language(pt, pt.distributions, torch, torch.from_numpy)


def pyro() -> Language:
    import pyro

    return Language(pyro, pyro.distributions, torch, torch.from_numpy)


def numpyro() -> Language:
    import jax.numpy as jnp
    import numpyro

    return Language(numpyro, numpyro.distributions, jnp, jnp.asarray)


def eight_schools() -> Posterior:
    """Rubin (1981), non-centred."""

    def program(lang: Language, sigma: Any, y: Any) -> None:
        mu = lang.ppl.sample("mu", lang.dist.Normal(0.0, 5.0))
        tau = lang.ppl.sample("tau", lang.dist.HalfCauchy(5.0))
        with lang.ppl.plate("schools", 8):
            standard = lang.ppl.sample("standard", lang.dist.Normal(0.0, 1.0))
            lang.ppl.sample("y", lang.dist.Normal(mu + tau * standard, sigma), obs=y)

    def log_density(jnp: Any, sigma: Any, y: Any, z: Any) -> Any:
        mu, log_tau, standard = z[0], z[1], z[2:]
        tau = jnp.exp(log_tau)
        prior = -0.5 * (mu / 5) ** 2 - jnp.log1p((tau / 5) ** 2) + log_tau - 0.5 * jnp.sum(standard**2)
        return prior - 0.5 * jnp.sum(((y - mu - tau * standard) / sigma) ** 2)

    errors = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    effects = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    return Posterior(program, (errors, effects), log_density, 10)


def logistic_regression(num_data: int, num_features: int) -> Posterior:
    def program(lang: Language, x: Any, y: Any) -> None:
        weight = lang.ppl.sample("weight", lang.dist.Normal(lang.arrays.zeros(num_features), 1.0).to_event(1))
        bias = lang.ppl.sample("bias", lang.dist.Normal(0.0, 1.0))
        with lang.ppl.plate("data", num_data):
            lang.ppl.sample("y", lang.dist.Bernoulli(logits=x @ weight + bias), obs=y)

    def log_density(jnp: Any, x: Any, y: Any, z: Any) -> Any:
        logits = x @ z[:-1] + z[-1]
        return jnp.sum(y * logits - jnp.logaddexp(0.0, logits)) - 0.5 * jnp.sum(z**2)

    generator = np.random.default_rng(0)
    x = generator.standard_normal((num_data, num_features))
    logits = x @ generator.standard_normal(num_features)
    y = (generator.random(num_data) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    return Posterior(program, (x, y), log_density, num_features + 1)


def gaussian_process(num_data: int) -> Posterior:
    """Regression with a squared exponential kernel, its function integrated out."""

    def covariance(arrays: Any, x: Any, amplitude: Any, length: Any, noise: Any) -> Any:
        squares = ((x[:, None] - x) / length) ** 2
        return amplitude**2 * arrays.exp(-0.5 * squares) + (noise**2 + 1e-6) * arrays.eye(num_data)

    def program(lang: Language, x: Any, y: Any) -> None:
        amplitude = lang.ppl.sample("amplitude", lang.dist.HalfNormal(2.0))
        length = lang.ppl.sample("length", lang.dist.LogNormal(0.0, 1.0))
        noise = lang.ppl.sample("noise", lang.dist.HalfNormal(1.0))
        matrix = covariance(lang.arrays, x, amplitude, length, noise)
        lang.ppl.sample("y", lang.dist.MultivariateNormal(lang.arrays.zeros(num_data), matrix), obs=y)

    def log_density(jnp: Any, x: Any, y: Any, z: Any) -> Any:
        from jax.scipy.linalg import solve_triangular

        amplitude, length, noise = jnp.exp(z)
        factor = jnp.linalg.cholesky(covariance(jnp, x, amplitude, length, noise))
        white = solve_triangular(factor, y, lower=True)
        prior = -0.5 * (amplitude / 2) ** 2 - 0.5 * z[1] ** 2 - 0.5 * noise**2 + z[0] + z[2]
        return prior - 0.5 * jnp.sum(white**2) - jnp.sum(jnp.log(jnp.diagonal(factor)))

    generator = np.random.default_rng(0)
    x = np.sort(generator.uniform(0.0, 10.0, num_data))
    y = np.sin(x) + 0.3 * generator.standard_normal(num_data)
    return Posterior(program, (x, y), log_density, 3)
