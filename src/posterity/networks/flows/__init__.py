"""Normalizing flows as models of densities, conditional ones too."""

from posterity.networks.flows.families import MAF, NeuralSpline, RealNVP
from posterity.networks.flows.fitting import FlowFit
from posterity.networks.flows.normalizing_flow import NormalizingFlow

__all__ = ["MAF", "FlowFit", "NeuralSpline", "NormalizingFlow", "RealNVP"]
