"""Guides that are normalising flows."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from posterity.bijectors import IAF, Bijector, Flow, ScalarAffine, SplineTransformer
from posterity.bijectors.softplus import softplus
from posterity.distributions import Normal, TransformedDistribution
from posterity.infer.guides.joint import AutoJoint
from posterity.infer.guides.scales import check_scale, raw_scale
from posterity.infer.initialization import Strategy, init_to_median
from posterity.infer.sources import seeded_generator, source_here


class AutoFlow(AutoJoint):
    """A normalising flow over the vector of all latent variables, on unconstrained space.

    Noise goes through the flow, which starts as the identity, and then through a scale and a shift of each entry.

    For those who write one: implement `_make_flow(size)`.

    Args:
        model: The model.
        init: Where the shift starts; a strategy of `posterity.infer.initialization`.
        init_scale: Where the scales start.

    Attributes:
        loc: The shift, `[num_entries]`.
        raw_scale: Inverse softplus of the scales, `[num_entries]`.
        flow: The flow.
    """

    flow: Flow

    def __init__(self, model: Callable[..., Any], *, init: Strategy = init_to_median, init_scale: float = 0.1) -> None:
        super().__init__(model, init=init)
        self.init_scale = check_scale(type(self).__name__, init_scale)

    def get_posterior(self) -> TransformedDistribution:
        """The distribution of the vector on unconstrained space, with the present parameters.

        It remembers its latest draw, so that the draw's density costs no inversion of the flow.
        """
        noise = Normal(self.loc.new_zeros(()), 1.0, validate_args=False).expand(self.loc.shape).to_event(1)
        affine: list[Bijector] = [self.flow, ScalarAffine(softplus(self.raw_scale), self.loc)]
        return TransformedDistribution(noise, [part.with_cache() for part in affine], validate_args=False)

    @abstractmethod
    def _make_flow(self, size: int) -> Flow:
        """The flow of vectors of that size."""

    def _set_up_vector(self, start: Tensor) -> None:
        self.loc = nn.Parameter(start.clone())
        self.raw_scale = nn.Parameter(raw_scale(self.init_scale, start))
        with seeded_generator(source_here()):
            self.flow = self._make_flow(len(start)).to(start)


class AutoIAF(AutoFlow):
    """Inverse autoregressive flow over all latent variables, on unconstrained space.

    Args:
        model: The model.
        init: Where the shift starts; a strategy of `posterity.infer.initialization`.
        init_scale: Where the scales start.
        num_layers: How many autoregressive layers.
        hidden_features: The widths of the hidden layers of each conditioner.

    Raises:
        TypeError: `model` or `init` is not callable.
        ValueError: `init_scale` is not positive.

    Source: Kingma et al. (2016), "Improved Variational Inference with Inverse Autoregressive Flow".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     with pt.plate("two", 2):
        ...         pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> AutoIAF(model).setup().sample_posterior((5,))["x"].shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        init: Strategy = init_to_median,
        init_scale: float = 0.1,
        num_layers: int = 3,
        hidden_features: Sequence[int] = (32, 32),
    ) -> None:
        super().__init__(model, init=init, init_scale=init_scale)
        self.num_layers, self.hidden_features = num_layers, tuple(hidden_features)

    def _make_flow(self, size: int) -> Flow:
        return IAF(size, self.num_layers, self.hidden_features)


class AutoSpline(AutoFlow):
    """A flow of rational-quadratic splines over all latent variables, on unconstrained space.

    The splines are those of inverse autoregressive layers, so that a single latent variable has its spline too. They
    bend what lies within `bound` standard deviations of the noise.

    Args:
        model: The model.
        init: Where the shift starts; a strategy of `posterity.infer.initialization`.
        init_scale: Where the scales start.
        num_layers: How many autoregressive layers.
        hidden_features: The widths of the hidden layers of each conditioner.
        num_bins: How many bins a spline has.
        bound: Where the splines end and the identity begins.

    Raises:
        TypeError: `model` or `init` is not callable.
        ValueError: `init_scale` is not positive.

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural Spline Flows".

    Example:
        >>> import posterity as pt
        >>> def model():
        ...     pt.sample("x", pt.distributions.Normal(0.0, 1.0))
        >>> AutoSpline(model).setup().sample_posterior((5,))["x"].shape
        torch.Size([5])
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        init: Strategy = init_to_median,
        init_scale: float = 0.1,
        num_layers: int = 2,
        hidden_features: Sequence[int] = (32, 32),
        num_bins: int = 8,
        bound: float = 5.0,
    ) -> None:
        super().__init__(model, init=init, init_scale=init_scale)
        self.num_layers, self.hidden_features = num_layers, tuple(hidden_features)
        self.num_bins, self.bound = num_bins, bound

    def _make_flow(self, size: int) -> Flow:
        transformer = SplineTransformer(self.num_bins, self.bound)
        return IAF(size, self.num_layers, self.hidden_features, transformer=transformer)
