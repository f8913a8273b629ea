"""Floor 1: invertible maps between supports, with the log-determinants of their Jacobians."""

from posterity.bijectors import constraints
from posterity.bijectors.affine import ScalarAffine, Scale, Shift
from posterity.bijectors.ascending import Ascending
from posterity.bijectors.base import Bijector
from posterity.bijectors.chain import Chain
from posterity.bijectors.concat import Concat
from posterity.bijectors.cumsum import CumSum
from posterity.bijectors.exponential import Exp, Log
from posterity.bijectors.half_line import HalfLine
from posterity.bijectors.identity import Identity
from posterity.bijectors.independent import Independent
from posterity.bijectors.invert import Invert
from posterity.bijectors.permute import Permute, Transpose
from posterity.bijectors.power import Power
from posterity.bijectors.registry import bijector_to, register_bijector
from posterity.bijectors.reshape import Reshape
from posterity.bijectors.sigmoid import Sigmoid
from posterity.bijectors.simplex import SoftmaxCentered, StickBreaking
from posterity.bijectors.sinh import Sinh, SinhArcsinh
from posterity.bijectors.softplus import Softplus
from posterity.bijectors.softsign import Softsign
from posterity.bijectors.stack import Stack
from posterity.bijectors.tanh import Tanh
from posterity.bijectors.unit_vector import UnitVector

__all__ = [
    "Ascending",
    "Bijector",
    "Chain",
    "Concat",
    "CumSum",
    "Exp",
    "HalfLine",
    "Identity",
    "Independent",
    "Invert",
    "Log",
    "Permute",
    "Power",
    "Reshape",
    "ScalarAffine",
    "Scale",
    "Shift",
    "Sigmoid",
    "Sinh",
    "SinhArcsinh",
    "SoftmaxCentered",
    "Softplus",
    "Softsign",
    "Stack",
    "StickBreaking",
    "Tanh",
    "Transpose",
    "UnitVector",
    "bijector_to",
    "constraints",
    "register_bijector",
]
