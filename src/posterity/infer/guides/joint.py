"""Guides with one distribution over all latent variables together."""

from abc import abstractmethod

import torch
from torch import Tensor

from posterity.distributions import Distribution
from posterity.infer.guides.guide import AutoGuide
from posterity.infer.guides.latent import Latent
from posterity.infer.guides.plates import ModelPlates
from posterity.kernels import ndtri
from posterity.ppl import sample


class AutoJoint(AutoGuide):
    """A guide over the vector of all latent variables on unconstrained space, in the order of the model.

    It has one auxiliary site, `site_name`, of which the latent variables are functions. Latent variables in subsampled
    plates are refused: what one distribution says of a part of them has no density that could be known.

    For those who write one: implement `_set_up_vector(start)` and `get_posterior()`; override `_drawn_from()` where
    draws and their densities are cheaper to have together than apart.

    Attributes:
        site_name: The name of the auxiliary site, `"_auto_latent"`; change it where two such guides meet in one trace.
    """

    site_name = "_auto_latent"

    @abstractmethod
    def get_posterior(self) -> Distribution:
        """The distribution of the vector on unconstrained space, `[num_entries]`, with the present parameters."""

    def unpack(self, vector: Tensor) -> dict[str, Tensor]:
        """The latent variables on unconstrained space that a vector of `get_posterior()` stands for.

        Args:
            vector: `[*sample_shape, num_entries]`.

        Returns:
            By site name `[*sample_shape, *unconstrained_shape]`.
        """
        parts = vector.split([latent.unconstrained_shape.numel() for latent in self.latents.values()], -1)
        return {
            name: part.reshape(vector.shape[:-1] + latent.unconstrained_shape)
            for (name, latent), part in zip(self.latents.items(), parts, strict=True)
        }

    @abstractmethod
    def _set_up_vector(self, start: Tensor) -> None:
        """Make the parameters from the vector at the start, `[num_entries]`."""

    def _drawn_from(self) -> Distribution:
        """The distribution of `get_posterior()`, in the form that the auxiliary site has."""
        return self.get_posterior()

    def _set_up(self, latents: dict[str, Latent], start: dict[str, Tensor]) -> None:
        self._set_up_vector(torch.cat([start[name].reshape(-1) for name in latents]))

    def _require_fit(self, latents: dict[str, Latent]) -> None:
        for latent in latents.values():
            if latent.is_subsampled:
                raise ValueError(
                    f"site {latent.name!r} stands in a subsampled plate, and {type(self).__name__} has one "
                    "distribution over all of its elements: use AutoNormal or AutoStructured, or AutoGuideList to give "
                    "this site a guide of its own"
                )

            if latent.mask is not None:
                raise ValueError(
                    f"site {latent.name!r} is masked, as a partly observed variable is, and {type(self).__name__} has "
                    "one distribution over all entries, also those that do not count: use AutoNormal or AutoStructured"
                )

    def _draw(self, plates: ModelPlates) -> dict[str, Tensor]:
        vector = sample(self.site_name, self._drawn_from(), infer={"is_auxiliary": True})
        values = {}
        for (name, unconstrained), latent in zip(self.unpack(vector).items(), self.latents.values(), strict=True):
            # Plates around the guide have made dimensions of size 1 where the site's own plates stand.
            extra = vector.dim() - 1
            outside = vector.shape[: max(extra - len(latent.batch_shape), 0)]
            own = unconstrained.reshape(outside + latent.unconstrained_shape) if extra else unconstrained
            with plates.around(latent):
                values[name] = self._site_from_unconstrained(latent, own)
        return values


class AutoGaussian(AutoJoint):
    """A joint guide whose marginals are normal: quantiles are exact.

    For those who write one: `get_posterior()` has a mean and a variance.
    """

    def _unconstrained_quantiles(self, levels: Tensor) -> dict[str, Tensor] | None:
        posterior = self.get_posterior()
        loc, scale = posterior.mean, posterior.variance.sqrt()
        return self.unpack(loc + scale * ndtri(levels).to(loc).unsqueeze(-1))
