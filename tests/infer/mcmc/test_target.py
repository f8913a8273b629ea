import pytest
import torch

from posterity.infer.mcmc.target import LogDensity


def test_a_function_of_one_point_runs_over_batches():
    weight = torch.tensor([1.0, 2.0])
    one = LogDensity(lambda z: -(weight * z * z).sum(), dim=2)
    many = LogDensity(lambda z: -(weight * z * z).sum(-1), dim=2, batched=True)
    points = torch.randn(3, 4, 2)
    for ours, theirs in zip(one.value_and_grad(points), many.value_and_grad(points), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert one.log_density(points[0, 0]).shape == ()
    torch.testing.assert_close(one.value_and_grad(points)[1], -2 * weight * points)


def test_a_log_density_is_one_number_for_each_point():
    with pytest.raises(ValueError, match=r"points of shape \(3, 2\) has shape \(3, 2\), but must have \(3,\)"):
        LogDensity(lambda z: z, dim=2).log_density(torch.zeros(3, 2))


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="function must be callable, not a int"):
        LogDensity(3, dim=2)
    for dim in (0, 1.5, True):
        with pytest.raises(ValueError, match="dim must be a whole number of at least 1"):
            LogDensity(torch.sum, dim=dim)
