"""What constructors refuse, and shapes that composites refuse."""

import pytest
import torch

from posterity import bijectors as pb

ones = torch.ones(2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pb.Scale(0), ValueError, "scale of Scale must not be 0"),
        (lambda: pb.Scale(float("nan")), ValueError, "scale of Scale must not be 0"),
        (lambda: pb.Scale("2"), TypeError, "scale of Scale must be a real number or a real tensor, not str"),
        (lambda: pb.Shift(1j), TypeError, "shift of Shift must be a real number"),
        (lambda: pb.Shift(torch.tensor(1j)), TypeError, "not torch.complex64"),
        (lambda: pb.ScalarAffine(torch.tensor([1.0, 0.0])), ValueError, "scale of ScalarAffine must not be 0"),
        (lambda: pb.ScalarAffine(ones, torch.ones(3)), ValueError, r"shapes: scale \(2,\), shift \(3,\)"),
        (lambda: pb.Softplus(-1.0), ValueError, "sharpness of Softplus must be positive"),
        (lambda: pb.SinhArcsinh(0.0, 0.0), ValueError, "tailweight of SinhArcsinh must be positive"),
        (lambda: pb.Sigmoid(1.0, 1.0), ValueError, "low of Sigmoid must be less than high"),
        (lambda: pb.Sigmoid(torch.tensor([0.0, 2.0]), 1.0), ValueError, "low of Sigmoid must be less than high"),
        (lambda: pb.Power(0), ValueError, "exponent of Power must not be 0"),
        (lambda: pb.Chain([]), ValueError, "Chain needs at least one bijector"),
        (lambda: pb.Chain([torch.exp]), TypeError, "Chain is made of Bijectors, not of builtin_function"),
        (lambda: pb.Invert(torch.exp), TypeError, "bijector of Invert must be a Bijector"),
        (lambda: pb.Independent(pb.Exp(), -1), ValueError, "must not be negative, but is -1"),
        (lambda: pb.Concat([pb.Exp()], [1, 2]), ValueError, "1 bijectors and 2 lengths"),
        (lambda: pb.Concat([pb.Transpose(), pb.Reshape((4,), (2, 2))], [2, 4]), ValueError, "same event rank"),
        (lambda: pb.Stack([]), ValueError, "Stack needs at least one bijector"),
        (lambda: pb.Stack([pb.Reshape((4,), (2, 2))], dim=-3), ValueError, "on one side only"),
        (lambda: pb.Reshape((6,), (2, 2)), ValueError, "not 6 and 4"),
        (lambda: pb.Transpose((0, 2)), ValueError, r"dims of Transpose must hold each of 0 to n-1 once, but is \(0, 2"),
        (lambda: pb.Permute([0, 0]), ValueError, "permutation of Permute must hold each"),
        (lambda: pb.Permute([0, 1], dim=0), ValueError, "dim of Permute must be negative"),
        (lambda: pb.CumSum(dim=1), ValueError, "dim of CumSum must be negative"),
    ],
)
def test_constructors_refuse(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("bijector", "shape", "message"),
    [
        (pb.Reshape((6,), (2, 3)), (5,), r"input of Reshape must have the event shape \(6,\), not \(5,\)"),
        (pb.Permute([1, 0]), (3,), "dimension -1 must be of size 2"),
        (
            pb.Concat([pb.Exp(), pb.Exp()], [1, 2]),
            (4,),
            r"dimension -1 must be of size 3, the sum of the blocks \(1, 2\)",
        ),
        (pb.Concat([pb.Scale(torch.ones(3, 1)), pb.Exp()], [1, 2]), (2, 3), r"does not broadcast"),
        (pb.Concat([pb.Scale(torch.ones(2, 2)), pb.Exp()], [1, 1]), (2, 2), "blocks that do not fit beside each other"),
        (pb.Stack([pb.Exp(), pb.Exp()]), (3,), "dimension -1 must be of size 2, one slice per bijector"),
        (pb.Stack([pb.Exp(), pb.Exp()]), (), "input of Stack has shape .* needs at least 1 dimension"),
        (pb.Independent(pb.Scale(torch.ones(3)), 1), (1,), r"would broadcast them from \(1,\) to \(3,\)"),
        (pb.Chain([pb.Scale(torch.ones(3)), pb.CumSum()]), (1,), r"would broadcast them from \(1,\) to \(3,\)"),
        (pb.Chain([pb.Exp(), pb.CumSum()]), (), "input of Chain has shape"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_inputs_that_do_not_fit_are_refused_before_any_work(bijector, shape, message):
    with pytest.raises(ValueError, match=message):
        bijector(torch.zeros(shape))


def test_outputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="a simplex in R.0 is empty"):
        pb.StickBreaking().inverse_shape(torch.Size([0]))
    with pytest.raises(ValueError, match="output of UnitVector must have at least two entries"):
        pb.UnitVector().inverse_shape(torch.Size([1]))
    with pytest.raises(ValueError, match=r"output of Reshape must have the event shape \(2, 3\), not \(3, 2\)"):
        pb.Reshape((6,), (2, 3)).inverse(torch.zeros(3, 2))


def test_integers_become_floating_parameters():
    assert pb.Scale(torch.tensor([1, 2])).scale.dtype == torch.float32
    assert pb.Scale(3)(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


def test_parts_with_batches_of_their_own_are_broadcast_side_by_side():
    scale = torch.tensor([1.0, 2.0, 3.0])
    stacked = pb.Stack([pb.Exp(), pb.Scale(scale)])
    y, log_det = stacked.forward_and_log_det(torch.zeros(2))
    assert y.shape == stacked.forward_shape(torch.Size([2])) == (3, 2)
    torch.testing.assert_close(log_det, scale.log())
    blocks = pb.Independent(pb.Concat([pb.Exp(), pb.Scale(scale[:, None])], [1, 2]), 1)
    y, log_det = blocks.forward_and_log_det(torch.zeros(1, 3))
    assert y.shape == blocks.forward_shape(torch.Size([1, 3])) == (3, 3)
    torch.testing.assert_close(log_det, 2 * scale.log())
