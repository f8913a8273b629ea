"""Sparse variational Gaussian processes and deep kernel learning, by GPyTorch's kernels and variational strategy."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posterity import distributions as dist
from posterity.kernels import Generator, normal
from posterity.networks.checks import check_count
from posterity.networks.fitting import FitResult
from posterity.networks.regressor import Regressor, inverse_softplus
from posterity.nn import random_parameters
from posterity.prediction import elbo_loss
from posterity.runtime import eval_mode

_KERNELS = {"rbf": None, "matern12": 0.5, "matern32": 1.5, "matern52": 2.5}
_FIRST_NOISE, _LEAST_NOISE = 0.3, 1e-3


class SparseVariationalGP(Regressor):
    r"""Regression by a Gaussian process, on inputs or on what a network makes of them (deep kernel learning).

    A normal distribution over the function's values at `num_inducing` points stands for the posterior; points,
    distribution, kernel, noise and network are trained together by the bound, in batches. It needs GPyTorch:
    `pip install 'posterity[gp]'`.

    Args:
        in_features: the width of what the kernel sees: of the features, or of the inputs without a feature extractor.
        feature_extractor: any module that gives features `[batch, in_features]`; None: the inputs themselves,
            `[batch, in_features]`.
        num_inducing: how many inducing points; no more than there are training examples are used.
        kernel: `"rbf"`, `"matern12"`, `"matern32"` or `"matern52"`, with a length scale for each feature, or a
            `gpytorch.kernels.Kernel`.

    Raises:
        ModuleNotFoundError: if GPyTorch is not installed.
        TypeError: if an argument is not of its kind.
        ValueError: if a number is not positive, the kernel is unknown, or the extractor's width does not fit where that
            can be tried out.

    Source: Hensman, Fusi, Lawrence (2013), "Gaussian processes for big data"; Wilson, Hu, Salakhutdinov, Xing (2016),
    "Deep kernel learning"; GPyTorch: Gardner et al. (2018).

    Example:
        >>> import posterity as pt
        >>> x = torch.linspace(-1, 1, 50).unsqueeze(-1)
        >>> gp = SparseVariationalGP(1, num_inducing=10)
        >>> result = gp.fit(x, torch.sin(3 * x[:, 0]), num_epochs=2, seed=0)
        >>> p = pt.predict(gp, x[:4], task="regression")
        >>> p.mean.shape, p.epistemic.shape, gp.distribution(x[:4]).stddev.shape
        (torch.Size([4]), torch.Size([4]), torch.Size([4]))
    """

    def __init__(
        self,
        in_features: int,
        feature_extractor: nn.Module | None = None,
        *,
        num_inducing: int = 100,
        kernel: Any = "rbf",
    ) -> None:
        gpytorch = _gpytorch()
        check_count("SparseVariationalGP", "num_inducing", num_inducing)
        super().__init__(nn.Identity() if feature_extractor is None else feature_extractor, in_features, None, 0)
        self.raw_noise = nn.Parameter(torch.tensor(inverse_softplus(_FIRST_NOISE)))
        prior = _Prior(gpytorch.means.ConstantMean(), _kernel(gpytorch, kernel, in_features))
        self.prior = prior
        self.strategy = gpytorch.variational.VariationalStrategy(
            prior,
            torch.randn(num_inducing, in_features),
            gpytorch.variational.CholeskyVariationalDistribution(num_inducing),
            learn_inducing_locations=True,
        )
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @property
    def noise(self) -> Tensor:
        """The standard deviation of the noise, in units of the targets."""
        return self.targets.scale * (F.softplus(self.raw_noise) + _LEAST_NOISE)

    def latent(self, x: Tensor) -> dist.Normal:
        """The function's value at each input without noise, with batch shape `[batch]`.

        Args:
            x: inputs, `[batch, ...]`.
        """
        found = self.strategy(self.features(x))
        scale = found.variance.clamp(min=torch.finfo(found.mean.dtype).tiny).sqrt()
        return dist.Normal(self.targets.inverse(found.mean), self.targets.scale * scale)

    def forward(self, x: Tensor) -> dist.Normal:
        """The distribution of the targets, with batch shape `[batch]`: the function's value and noise."""
        function = self.latent(x)
        return dist.Normal(function.loc, torch.hypot(function.scale, self.noise))

    @torch.no_grad()
    def distribution(self, x: Tensor) -> dist.Normal:
        """The distribution of the targets in eval mode, without gradients.

        Args:
            x: inputs, `[batch, ...]`.
        """
        with eval_mode(self):
            return self(x)  # type: ignore[no-any-return]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean negative log predictive density of a batch, in nats: what held-out examples are judged by.

        Training takes `bound` instead, which has the divergence of the function.

        Args:
            x: inputs, `[batch, ...]`.
            y: targets, `[batch]`.
        """
        x, y = self._checked(x, y)
        nll: Tensor = -self(x).log_prob(y)
        return nll.mean()

    def bound(self, x: Tensor, y: Tensor, num_data: int) -> Tensor:
        r"""The negative evidence lower bound per example: $-E_q[\log p(y \mid f)] + KL(q(u) \| p(u)) / N$.

        Args:
            x: inputs, `[batch, ...]`.
            y: targets, `[batch]`.
            num_data: N, the size of the training set.

        Returns:
            Scalar tensor in nats, to call `backward()` on.
        """
        check_count("SparseVariationalGP.bound", "num_data", num_data)
        x, y = self._checked(x, y)
        function, noise = self.latent(x), self.noise
        expected = (y - function.loc).square() + function.scale.square()
        nll = (0.5 * expected / noise.square() + noise.log() + 0.5 * math.log(2 * math.pi)).mean()
        loss: Tensor = nll + self.strategy.kl_divergence() / num_data
        return loss if next(random_parameters(self), None) is None else elbo_loss(self, loss, num_data)

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        *,
        validation_data: tuple[Tensor, Tensor] | None = None,
        validation_fraction: float = 0.0,
        num_epochs: int = 500,
        batch_size: int = 256,
        lr: float = 2e-2,
        weight_decay: float = 0.0,
        clip_norm: float | None = 10.0,
        patience: int | None = None,
        standardize: bool = True,
        seed: int | None = None,
        progress: bool = True,
    ) -> FitResult:
        """Train on examples by the bound; inducing points begin at inputs among them. See `Regressor.fit`.

        The bound guards against overfitting the kernel, so that no examples are held out by default. A large feature
        extractor overfits all the same (Ober, Rasmussen, van der Wilk, 2021): hold some out.
        """
        return super().fit(
            x, y, validation_data=validation_data, validation_fraction=validation_fraction, num_epochs=num_epochs,
            batch_size=batch_size, lr=lr, weight_decay=weight_decay, clip_norm=clip_norm, patience=patience,
            standardize=standardize, seed=seed, progress=progress,
        )  # fmt: skip

    @torch.no_grad()
    def predictive_draws(self, x: Tensor, num_samples: int, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """Draws of the function's value at each input, and the noise: the prediction protocol.

        Every input's draws are its own; `sample_functions` draws whole functions.

        Args:
            x: inputs, `[batch, ...]`.
            num_samples: how many draws.
            generator: where the noise comes from; None: torch's global generator.

        Returns:
            Means and scales, each `[num_samples, batch]`.
        """
        draws = self.latent(x).rsample((num_samples,), generator=generator)
        return draws, self.noise.expand_as(draws)

    @torch.no_grad()
    def sample_functions(self, x: Tensor, num_samples: int = 1, *, generator: Generator = None) -> Tensor:
        """Functions drawn from the posterior, at all inputs jointly; the cost is cubic in their number.

        Args:
            x: inputs, `[batch, ...]`.
            num_samples: how many functions.
            generator: where the noise comes from; None: torch's global generator.

        Returns:
            `[num_samples, batch]`.
        """
        check_count("SparseVariationalGP.sample_functions", "num_samples", num_samples)
        with eval_mode(self):
            found = self.strategy(self.features(x), diag=False)
            covariance = found.covariance_matrix.double()
            jitter = (
                1e-6 * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64).to(covariance)
            )
            root = torch.linalg.cholesky(covariance + jitter).to(found.mean)
            noise = normal((num_samples, len(root)), source=generator, dtype=root.dtype, device=root.device)
            return self.targets.inverse(found.mean + noise @ root.mT)

    def train(self, mode: bool = True) -> "SparseVariationalGP":
        """Torch's `train`; what GPyTorch remembers in eval mode is forgotten."""
        super().train(mode)
        _forget(self)
        return self

    def _begin(self, x: Tensor) -> None:
        with torch.no_grad(), eval_mode(self):
            count = len(self.strategy.inducing_points)
            order = torch.randperm(len(x), device=x.device)
            features = self.features(x[order[:count]])
            if len(features) < count:  # between examples, for equal points would make the kernel singular
                extra = torch.randint(len(features), (2, count - len(features)), device=x.device)
                features = torch.cat([features, 0.5 * (features[extra[0]] + features[extra[1]])])
            noise = 1e-3 * features.std(0) * torch.randn_like(features)
            self.strategy.inducing_points.copy_(features + noise)

    def _training_loss(self, num_data: int) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, y: self.bound(x, y, num_data)


class _Prior(nn.Module):
    """The process before any data, in the form that a variational strategy asks for."""

    def __init__(self, mean: nn.Module, kernel: nn.Module) -> None:
        super().__init__()
        self.mean, self.kernel = mean, kernel

    def forward(self, x: Tensor) -> Any:
        return _gpytorch().distributions.MultivariateNormal(self.mean(x), self.kernel(x))


def _kernel(gpytorch: Any, kernel: Any, width: int) -> nn.Module:
    if isinstance(kernel, gpytorch.kernels.Kernel):
        return kernel  # type: ignore[no-any-return]
    if not isinstance(kernel, str):
        raise TypeError(f"SparseVariationalGP: kernel must be a name or a gpytorch kernel, got {type(kernel).__name__}")
    if kernel not in _KERNELS:
        names = ", ".join(map(repr, _KERNELS))
        raise ValueError(f"SparseVariationalGP: kernel must be one of {names}, or a gpytorch kernel, got {kernel!r}")
    smoothness = _KERNELS[kernel]
    if smoothness is None:
        base = gpytorch.kernels.RBFKernel(ard_num_dims=width)
    else:
        base = gpytorch.kernels.MaternKernel(nu=smoothness, ard_num_dims=width)
    # Standardised features are about this far apart.
    base.lengthscale = math.sqrt(width)
    return gpytorch.kernels.ScaleKernel(base)  # type: ignore[no-any-return]


def _forget(module: nn.Module, *_: Any) -> None:
    strategy = getattr(module, "strategy", None)
    if strategy is not None:
        strategy._clear_cache()


def _gpytorch() -> Any:
    try:
        import gpytorch
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "Gaussian processes need GPyTorch: pip install 'posterity[gp]'", name=missing.name
        ) from None
    return gpytorch
