"""Laplace's approximation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from posterity.distributions import Delta
from posterity.infer.guides.joint import AutoGaussian
from posterity.infer.guides.multivariate_normal import AutoMultivariateNormal
from posterity.infer.initialization import Strategy, init_to_median
from posterity.infer.potential import Potential


class AutoLaplace(AutoGaussian):
    """A point, trained to the maximum of the posterior density on unconstrained space, and the normal around it.

    Train it as any guide; then `laplace_approximation` gives the normal distribution whose precision is the curvature
    of the log density there. Discrete variables marked for enumeration are summed out.

    Args:
        model: The model.
        init: Where the point starts; a strategy of `posterity.infer.initialization`.

    Attributes:
        loc: The point on unconstrained space, `[num_entries]`.

    Raises:
        TypeError: `model` or `init` is not callable.

    Source: MacKay (2003), "Information Theory, Inference and Learning Algorithms", chapter 27.

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(1.0, 3.0))
        >>> guide = AutoLaplace(model, init=pt.infer.init_to_mean).setup()
        >>> guide.laplace_approximation().get_posterior().stddev
        tensor([3.], grad_fn=...)
    """

    def __init__(self, model: Callable[..., Any], *, init: Strategy = init_to_median) -> None:
        super().__init__(model, init=init)

    def get_posterior(self) -> Delta:
        """All mass at the point, with the present parameters."""
        return Delta(self.loc, event_dim=1, validate_args=False)

    def laplace_approximation(self, *args: Any, **kwargs: Any) -> AutoMultivariateNormal:
        """The normal guide whose precision is the negative Hessian of the log density at the point.

        Args:
            *args: The model's arguments: those of the whole data.
            **kwargs: The model's keyword arguments.

        Returns:
            A guide of the same model, set up.

        Raises:
            ValueError: The Hessian is not negative definite, as it is at a maximum, or the model takes a random
                subsample.
        """
        self._ensure(args, kwargs)
        point = self.loc.detach()
        potential = Potential(self.model, args, kwargs, init=self.init)
        hessian = torch.autograd.functional.hessian(potential.log_density, point)
        curvatures = torch.linalg.eigvalsh(-hessian)
        if not bool(curvatures[0] > 0):
            raise ValueError(
                f"the log density is not at a maximum at the point of {type(self).__name__}: the least curvature is "
                f"{curvatures[0].item():.3g}. Train the guide until its loss does not fall any more; a posterior "
                "without a proper maximum has no Laplace approximation"
            )
        # The covariance's factor from the precision's, taken from the last entry on: no inverse is formed.
        flipped = torch.linalg.cholesky(-hessian.flip(-2, -1))
        eye = torch.eye(len(point), dtype=point.dtype, device=point.device)
        factor = torch.linalg.solve_triangular(flipped.flip(-2, -1).mT, eye, upper=False)
        return AutoMultivariateNormal.of_factor(self.model, self.latents, point, factor)

    def _set_up_vector(self, start: Tensor) -> None:
        self.loc = nn.Parameter(start.clone())
