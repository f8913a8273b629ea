"""What the Bayesian layers share: their parameters, their default prior, and when their estimator runs."""

from typing import Any

from torch import Tensor

from posterity.nn.conversion import randomize
from posterity.nn.estimators import check_estimator
from posterity.nn.posteriors import MeanFieldNormal, Posterior
from posterity.nn.priors import FanIn, PriorLike, as_prior
from posterity.nn.random_module import RandomModule, deterministic_class, random_property, reset_parameters


class BayesianLayer(RandomModule):
    """A layer with a random `weight` and perhaps a random `bias`, to stand before torch's own class."""

    weight: Any = random_property("weight")
    bias: Any = random_property("bias")

    def reset_parameters(self) -> None:
        """The initialisation of torch, applied to the posterior means; spreads and priors are made anew."""
        if "_random" in self.__dict__:
            reset_parameters(self)
        else:
            own: Any = deterministic_class(type(self))
            own.reset_parameters(self)


def make_random(
    layer: RandomModule,
    prior: PriorLike | None,
    posterior: Posterior | None,
    estimator: str,
) -> None:
    """Make all parameters of a freshly constructed layer random.

    Args:
        layer: the layer, whose class has properties for its parameters.
        prior: what `as_prior` takes. Default: `FanIn()`.
        posterior: the family. Default: `MeanFieldNormal()`.
        estimator: one of the layer's.

    Raises:
        ValueError: if the layer lacks the estimator, or the posterior is not one that it can use.
        TypeError: if the prior or the posterior is not one.
    """
    check_estimator(layer, estimator, layer._estimators)
    if not (posterior is None or isinstance(posterior, Posterior)):
        raise TypeError(f"posterior must be a posterity.nn.Posterior such as MeanFieldNormal(), got {posterior!r}")
    recipe = FanIn() if prior is None else as_prior(prior)
    layer.__dict__["_random"] = {}
    layer.__dict__["_estimator"] = estimator
    family = posterior or MeanFieldNormal()
    for name, value in list(layer._parameters.items()):
        if value is not None:
            check_moments(family, value, name, estimator)
            randomize(layer, name, family, recipe)


def check_moments(posterior: Posterior, value: Tensor, name: str, estimator: str) -> None:
    """Refuse `flipout` and `local` on a posterior that is not a factorised normal.

    Raises:
        ValueError: naming the parameter and the posterior.
    """
    if estimator != "reparam" and posterior.moments(posterior.init(value.detach())) is None:
        raise ValueError(
            f"estimator={estimator!r} needs a factorised normal posterior, and {name!r} has {posterior!r}; "
            "use estimator='reparam'"
        )


def uses_estimator(layer: RandomModule) -> bool:
    """Whether the layer's estimator runs now, rather than the plain layer on one weight draw."""
    if layer._estimator == "reparam" or "weight" not in layer._random:
        return False
    slot = layer._random["weight"].slot()
    return slot is not None and not slot.draw.whole
