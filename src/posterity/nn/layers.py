"""What the Bayesian layers share: their parameters, their default prior, and when their estimator runs."""

from typing import Any

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
    for name in [name for name, value in layer._parameters.items() if value is not None]:
        randomize(layer, name, posterior or MeanFieldNormal(), recipe)
    check_moments(layer, estimator)


def check_moments(layer: RandomModule, estimator: str) -> None:
    """Refuse `flipout` and `local` on a posterior that is not a factorised normal.

    Raises:
        ValueError: naming the posterior.
    """
    for name, random in layer._random.items():
        if estimator != "reparam" and random.moments(layer, name) is None:
            raise ValueError(
                f"estimator={estimator!r} needs a factorised normal posterior, and {name!r} has {random.posterior!r}; "
                "use estimator='reparam'"
            )


def uses_estimator(layer: RandomModule) -> bool:
    """Whether the layer's estimator runs now, rather than the plain layer on one weight draw."""
    if layer._estimator == "reparam" or "weight" not in layer._random:
        return False
    slot = layer._random["weight"].slot()
    return slot is not None and not slot.draw.whole
