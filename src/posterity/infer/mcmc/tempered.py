"""A target at inverse temperatures: between a flat or known density, which is easy to cross, and the target itself."""

from collections.abc import Callable
from typing import Protocol, cast

import torch
from torch import Tensor

from posterity.infer.capture import capture
from posterity.infer.mcmc.target import Target


class InTwoParts(Target, Protocol):
    """A target that knows a prior and a likelihood of its own, as `posterity.infer.Potential` does."""

    def log_prior_and_likelihood(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the log density at points `[*batch, dim]`, `[*batch]` each."""


def has_two_parts(target: Target) -> bool:
    """Whether a target's likelihood can be tempered alone."""
    return hasattr(target, "log_prior_and_likelihood")


class Tempered:
    r"""The densities $\pi_0(z) \, L(z)^\beta$ of a target in two parts, or $\pi(z)^\beta$ of any other.

    Args:
        target: The target.
        inverse_temperature: Beta, for each of the points that the last batch dimension of z runs over, or one for all.
        whole: Whether to temper the whole density; a target that knows no parts must be.

    Raises:
        TypeError: Only the likelihood is to be tempered, and the target knows no parts.

    Example:
        >>> from posterity.infer.mcmc.target import LogDensity
        >>> target = LogDensity(lambda z: -0.5 * (z * z).sum(), dim=1)
        >>> Tempered(target, torch.tensor([1.0, 0.1]), whole=True).log_density(torch.ones(2, 1))
        tensor([-0.5000, -0.0500])
    """

    def __init__(self, target: Target, inverse_temperature: Tensor, *, whole: bool = False) -> None:
        if not whole and not has_two_parts(target):
            raise TypeError(
                f"{type(target).__name__} knows no prior and likelihood, so that only its whole density can be tempered"
            )
        self.target, self.inverse_temperature, self.whole = target, inverse_temperature, whole

    @property
    def dim(self) -> int:
        """How many numbers a point has."""
        return self.target.dim

    def log_density(self, z: Tensor) -> Tensor:
        """The tempered log density at points `[*batch, dim]`, `[*batch]`."""
        fixed, energy = self.parts(z)
        return self.at(fixed, energy)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The tempered log density and its gradient, `[*batch]` and `[*batch, dim]`, neither with a graph."""
        if self.whole:
            value, gradient = self.target.value_and_grad(z)
            return self.at(torch.zeros_like(value), value), self.inverse_temperature.unsqueeze(-1) * gradient
        if isinstance(self.target, CompiledParts):
            return self.target.tempered_value_and_grad(z, self.inverse_temperature)
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            value = self.log_density(point)
            (gradient,) = torch.autograd.grad(value.sum(), point)
        return value.detach(), gradient

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The term that is as it is, and the one that beta multiplies, `[*batch]` each."""
        if self.whole:
            value = self.target.log_density(z)
            return torch.zeros_like(value), value
        return cast(InTwoParts, self.target).log_prior_and_likelihood(z)

    def at(self, fixed: Tensor, energy: Tensor) -> Tensor:
        """The log density of points with these parts."""
        # At beta = 0 what the likelihood excludes is as good as any other point.
        return fixed + torch.where(self.inverse_temperature > 0, self.inverse_temperature * energy, 0.0)


class CompiledParts:
    """A target in two parts whose densities run as compiled graphs, one for each shape of points.

    Args:
        target: The target.

    Example:
        >>> from posterity.infer.potential import Potential
        >>> import posterity as pt
        >>> parts = CompiledParts(Potential(lambda: pt.sample("x", pt.distributions.Normal(0.0, 1.0))))
        >>> parts.dim
        1
    """

    def __init__(self, target: InTwoParts) -> None:
        self._target = target
        self._graphs: dict[tuple[str, torch.Size], Callable[..., tuple[Tensor, Tensor]]] = {}

    @property
    def dim(self) -> int:
        """How many numbers a point has."""
        return self._target.dim

    def log_density(self, z: Tensor) -> Tensor:
        """The log density at points."""
        prior, likelihood = self.log_prior_and_likelihood(z)
        return prior + likelihood

    def log_prior_and_likelihood(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the log density."""
        return self._run("parts", lambda z: self._target.log_prior_and_likelihood(z), z)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The log density and its gradient."""
        return self._run("gradient", lambda z: self._target.value_and_grad(z), z)

    def tempered_value_and_grad(self, z: Tensor, inverse_temperature: Tensor) -> tuple[Tensor, Tensor]:
        """As `value_and_grad`, of `Tempered` at an inverse temperature."""

        def run(z: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
            return Tempered(self._target, beta).value_and_grad(z)

        return self._run("tempered", run, z, inverse_temperature)

    def _run(self, name: str, function: Callable[..., tuple[Tensor, Tensor]], *inputs: Tensor) -> tuple[Tensor, Tensor]:
        which = name, inputs[0].shape
        if which not in self._graphs:
            self._graphs[which] = capture(function, inputs)
        first, second = self._graphs[which](*inputs)
        return first, second
