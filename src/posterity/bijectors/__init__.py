"""Floor 1: invertible maps between supports, with the log-determinants of their Jacobians."""

from posterity.bijectors import constraints
from posterity.bijectors.act_norm import ActNorm
from posterity.bijectors.affine import ScalarAffine, Scale, Shift
from posterity.bijectors.ascending import Ascending
from posterity.bijectors.autoregressive import Autoregressive
from posterity.bijectors.autoregressive_flows import IAF, MAF
from posterity.bijectors.base import Bijector
from posterity.bijectors.chain import Chain
from posterity.bijectors.cholesky_outer_product import CholeskyOuterProduct
from posterity.bijectors.concat import Concat
from posterity.bijectors.corr_cholesky import CorrCholesky
from posterity.bijectors.coupling import Coupling
from posterity.bijectors.coupling_flows import NICE, NeuralSplineFlow, RealNVP
from posterity.bijectors.cumsum import CumSum
from posterity.bijectors.exponential import Exp, Log
from posterity.bijectors.fill_scale_tril import FillScaleTriL
from posterity.bijectors.fill_triangular import FillTriangular
from posterity.bijectors.flow import Flow
from posterity.bijectors.half_line import HalfLine
from posterity.bijectors.householder import Householder
from posterity.bijectors.identity import Identity
from posterity.bijectors.independent import Independent
from posterity.bijectors.invert import Invert
from posterity.bijectors.invertible_conv import InvertibleConv1x1
from posterity.bijectors.made import MADE
from posterity.bijectors.mlp import MLP
from posterity.bijectors.module_bijector import ModuleBijector
from posterity.bijectors.permute import Permute, Transpose
from posterity.bijectors.planar import Planar
from posterity.bijectors.power import Power
from posterity.bijectors.radial import Radial
from posterity.bijectors.rational_quadratic_spline import RationalQuadraticSpline
from posterity.bijectors.registry import bijector_to, register_bijector
from posterity.bijectors.reshape import Reshape
from posterity.bijectors.scale_matvec import ScaleMatvecDiag, ScaleMatvecTriL
from posterity.bijectors.scale_matvec_lu import ScaleMatvecLU
from posterity.bijectors.sigmoid import Sigmoid
from posterity.bijectors.simplex import SoftmaxCentered, StickBreaking
from posterity.bijectors.sinh import Sinh, SinhArcsinh
from posterity.bijectors.softplus import Softplus
from posterity.bijectors.softsign import Softsign
from posterity.bijectors.stack import Stack
from posterity.bijectors.tanh import Tanh
from posterity.bijectors.trainable import Trainable
from posterity.bijectors.transformers import AdditiveTransformer, AffineTransformer, SplineTransformer
from posterity.bijectors.unit_vector import UnitVector

__all__ = [
    "IAF",
    "MADE",
    "MAF",
    "MLP",
    "NICE",
    "ActNorm",
    "AdditiveTransformer",
    "AffineTransformer",
    "Ascending",
    "Autoregressive",
    "Bijector",
    "Chain",
    "CholeskyOuterProduct",
    "Concat",
    "CorrCholesky",
    "Coupling",
    "CumSum",
    "Exp",
    "FillScaleTriL",
    "FillTriangular",
    "Flow",
    "HalfLine",
    "Householder",
    "Identity",
    "Independent",
    "Invert",
    "InvertibleConv1x1",
    "Log",
    "ModuleBijector",
    "NeuralSplineFlow",
    "Permute",
    "Planar",
    "Power",
    "Radial",
    "RationalQuadraticSpline",
    "RealNVP",
    "Reshape",
    "ScalarAffine",
    "Scale",
    "ScaleMatvecDiag",
    "ScaleMatvecLU",
    "ScaleMatvecTriL",
    "Shift",
    "Sigmoid",
    "Sinh",
    "SinhArcsinh",
    "SoftmaxCentered",
    "Softplus",
    "Softsign",
    "SplineTransformer",
    "Stack",
    "StickBreaking",
    "Tanh",
    "Trainable",
    "Transpose",
    "UnitVector",
    "bijector_to",
    "constraints",
    "register_bijector",
]
