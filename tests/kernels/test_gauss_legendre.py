import torch

from posterity.kernels.gauss_legendre import gauss_legendre


def test_polynomials_below_twice_the_number_of_nodes_are_exact():
    length = torch.tensor([[2.0, -1.0], [0.5, 0.0]], dtype=torch.float64)
    for degree in range(6):
        value = gauss_legendre(lambda t, n=degree: t**n, length, 3)
        torch.testing.assert_close(value, length ** (degree + 1) / (degree + 1), rtol=1e-14, atol=0)
    assert abs(gauss_legendre(lambda t: t**6, length, 3)[0, 0] - 2**7 / 7) > 1e-3


def test_smooth_integrals_converge_and_follow_the_dtype():
    value = gauss_legendre(torch.exp, torch.tensor(3.0), 12)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, torch.expm1(torch.tensor(3.0)))
