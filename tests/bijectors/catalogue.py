"""Every bijector once or more, with inputs: what holds for all of them is tested over this table."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from posterity import bijectors as pb
from posterity.bijectors.planar import PlanarMap
from posterity.bijectors.radial import RadialMap

# A fixed stream of its own, so that the table is the same wherever it is imported.
_stream = torch.Generator().manual_seed(5)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=_stream)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """A bijector and inputs for it.

    Attributes:
        name: What the tests call it.
        build: Makes the bijector from `parameters`.
        x: Inputs in float64, `[num_inputs, *event_shape]`, or more dimensions before the event.
        parameters: What gradients must reach, in float64.
        embed: Where inputs have fewer free coordinates than entries: a function from these, a vector, to one event.
        unembed: The coordinates of one input event (the inverse of `embed`).
        chart: The coordinates of an output event, a vector, under whose Lebesgue measure log-dets are stated. Where
            the Jacobian is not square then, the log-det is that of the volume element, log sqrt(det J^T J).
    """

    name: str
    build: Callable[..., pb.Bijector]
    x: Tensor
    parameters: dict[str, Tensor] = field(default_factory=dict)
    embed: Callable[[Tensor], Tensor] | None = None
    unembed: Callable[[Tensor], Tensor] = torch.Tensor.flatten
    chart: Callable[[Tensor], Tensor] = torch.Tensor.flatten

    def bijector(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> pb.Bijector:
        return self.build(**{name: value.to(device, dtype) for name, value in self.parameters.items()})


def _all_but_last(y: Tensor) -> Tensor:
    return y[:-1]


LINE = torch.cat([randn(5), torch.tensor([0.0, -4.0, 6.0], dtype=torch.float64)])
POSITIVE = torch.cat([randn(5).exp(), torch.tensor([1e-3, 1.0, 40.0], dtype=torch.float64)])
VECTORS = randn(6, 3)

CASES = [
    Case("identity", pb.Identity, LINE),
    Case("shift", pb.Shift, LINE, {"shift": scalar(0.7)}),
    Case("scale", pb.Scale, LINE, {"scale": scalar(-1.3)}),
    Case("scale_by_a_number", lambda: pb.Scale(2.5), LINE),
    Case("scalar_affine", pb.ScalarAffine, LINE, {"scale": scalar(0.4), "shift": scalar(-2.0)}),
    Case("exp", pb.Exp, LINE),
    Case("log", pb.Log, POSITIVE),
    Case("half_line", pb.HalfLine, LINE, {"bound": scalar(1.5)}),
    Case("half_line_below", lambda bound: pb.HalfLine(bound, above=False), LINE, {"bound": scalar(-0.5)}),
    Case("softplus", pb.Softplus, LINE, {"sharpness": scalar(1.7)}),
    Case("sigmoid", pb.Sigmoid, LINE),
    Case("sigmoid_to_an_interval", pb.Sigmoid, LINE, {"low": scalar(-1.5), "high": scalar(0.25)}),
    Case("tanh", pb.Tanh, LINE),
    Case("softsign", pb.Softsign, LINE[LINE != 0]),
    Case("power", pb.Power, POSITIVE, {"exponent": scalar(-1.5)}),
    Case("square", lambda: pb.Power(2), POSITIVE),
    Case("sinh", pb.Sinh, LINE),
    Case("sinh_arcsinh", pb.SinhArcsinh, LINE, {"skewness": scalar(0.5), "tailweight": scalar(1.6)}),
    Case("invert", lambda scale: pb.Invert(pb.Chain([pb.Scale(scale), pb.Exp()])), POSITIVE, {"scale": scalar(0.8)}),
    Case("chain", lambda shift: pb.Chain([pb.Tanh(), pb.Shift(shift), pb.Sinh()]), LINE, {"shift": scalar(0.3)}),
    Case(
        "chain_of_several_ranks",
        lambda scale: pb.Chain([pb.Scale(scale), pb.Ascending(), pb.Exp()]),
        VECTORS,
        {"scale": scalar(0.8)},
    ),
    Case("independent", lambda: pb.Independent(pb.Softplus(), 2), randn(4, 2, 3)),
    Case(
        "concat",
        lambda scale: pb.Independent(pb.Concat([pb.Exp(), pb.Scale(scale)], lengths=[2, 3]), 1),
        randn(4, 5),
        {"scale": scalar(0.6)},
    ),
    Case("concat_of_vectors", lambda: pb.Concat([pb.Exp(), pb.Ascending(), pb.CumSum()], [1, 3, 2]), randn(4, 6)),
    Case(
        "concat_of_rows",
        lambda: pb.Independent(pb.Concat([pb.Exp(), pb.Tanh()], [1, 2], dim=-2), 2),
        randn(3, 3, 2),
    ),
    Case("stack", lambda scale: pb.Stack([pb.Exp(), pb.Scale(scale)]), randn(4, 2), {"scale": scalar(0.6)}),
    Case("stack_of_vectors", lambda: pb.Stack([pb.Ascending(), pb.CumSum()], dim=-2), randn(4, 2, 3)),
    Case("reshape", lambda: pb.Reshape((6,), (2, 3)), randn(4, 6)),
    Case("transpose", pb.Transpose, randn(4, 2, 3)),
    Case("transpose_of_three", lambda: pb.Transpose((2, 0, 1)), randn(4, 2, 3, 2)),
    Case("permute", lambda: pb.Permute([2, 0, 1]), VECTORS),
    Case("permute_rows", lambda: pb.Permute([1, 2, 0], dim=-2), randn(4, 3, 2)),
    Case("ascending", pb.Ascending, VECTORS),
    Case("cumsum", pb.CumSum, VECTORS),
    Case("cumsum_of_rows", lambda: pb.CumSum(dim=-2), randn(4, 3, 2)),
    Case("stick_breaking", pb.StickBreaking, VECTORS, chart=_all_but_last),
    Case("softmax_centered", pb.SoftmaxCentered, VECTORS, chart=_all_but_last),
    Case("unit_vector", pb.UnitVector, torch.cat([VECTORS, 100 * VECTORS[:2], torch.zeros_like(VECTORS[:1])])),
]


def _lower_entries(y: Tensor) -> Tensor:
    return y[tuple(torch.tril_indices(y.shape[-1], y.shape[-1], device=y.device))]


def _entries_below_diagonal(y: Tensor) -> Tensor:
    return y[tuple(torch.tril_indices(y.shape[-1], y.shape[-1], -1, device=y.device))]


def _lower(v: Tensor) -> Tensor:
    return pb.FillTriangular().forward(v)


CHOLESKY_FACTORS = pb.FillScaleTriL().forward(randn(4, 6))
ROTATED = torch.linalg.lu_factor(randn(3, 3))[0]

MATRICES = [
    Case("fill_triangular", pb.FillTriangular, randn(4, 6), chart=_lower_entries),
    Case("fill_scale_tril", pb.FillScaleTriL, randn(4, 6), chart=_lower_entries),
    Case("fill_scale_tril_exp", lambda: pb.FillScaleTriL(pb.Exp(), 0.0), randn(4, 3), chart=_lower_entries),
    Case("corr_cholesky", pb.CorrCholesky, 2 * randn(4, 6), chart=_entries_below_diagonal),
    Case(
        "cholesky_outer_product",
        pb.CholeskyOuterProduct,
        CHOLESKY_FACTORS,
        embed=_lower,
        unembed=_lower_entries,
        chart=_lower_entries,
    ),
    Case(
        "onto_positive_definite",
        lambda: pb.Chain([pb.FillScaleTriL(), pb.CholeskyOuterProduct()]),
        randn(4, 6),
        chart=_lower_entries,
    ),
    Case("scale_matvec_diag", pb.ScaleMatvecDiag, VECTORS, {"scale_diag": randn(3)}),
    Case("scale_matvec_tril", pb.ScaleMatvecTriL, VECTORS, {"scale_tril": randn(3, 3)}),
    Case(
        "scale_matvec_lu",
        lambda lower_upper: pb.ScaleMatvecLU(lower_upper, (2, 0, 1)),
        VECTORS,
        {"lower_upper": ROTATED},
    ),
    Case("householder", pb.Householder, VECTORS, {"vectors": randn(2, 3)}),
    Case(
        "rational_quadratic_spline",
        lambda widths, heights, slopes: pb.RationalQuadraticSpline(widths, heights, slopes, bound=5.0),
        LINE,
        {"widths": randn(4), "heights": randn(4), "slopes": randn(3)},
    ),
    Case("planar", PlanarMap, VECTORS, {"direction": 2 * randn(3), "weight": randn(3), "bias": scalar(0.4)}),
    Case(
        "planar_folding",
        lambda weight: PlanarMap(-weight, weight, weight.new_zeros(())),
        VECTORS,
        {"weight": randn(3)},
    ),
    Case("radial", RadialMap, VECTORS, {"center": randn(3), "width": scalar(-0.5), "strength": scalar(1.5)}),
    Case("radial_drawing_in", RadialMap, VECTORS, {"center": randn(3), "width": scalar(1.0), "strength": scalar(-2.0)}),
]
CASES += MATRICES
