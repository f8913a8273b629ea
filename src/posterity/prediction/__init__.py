"""Floor 6: one way to train and to ask any stochastic module what it knows."""

from posterity.prediction.elbo import elbo_loss
from posterity.prediction.predict import predict
from posterity.prediction.prediction import Prediction

__all__ = ["Prediction", "elbo_loss", "predict"]
