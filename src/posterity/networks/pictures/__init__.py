"""Pictures of an autoencoder, one call each: they return matplotlib figures, and matplotlib is imported when called."""

from posterity.networks.pictures.grids import reconstructions, samples, traversals
from posterity.networks.pictures.information import latent_information
from posterity.networks.pictures.latent_map import latent_map
from posterity.networks.pictures.live_loss import LiveLoss
from posterity.networks.pictures.overview import overview

__all__ = ["LiveLoss", "latent_information", "latent_map", "overview", "reconstructions", "samples", "traversals"]
