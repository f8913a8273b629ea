import mpmath
import torch

from posterity.kernels.log_factorial import log_factorial

# On both sides of the table's end.
COUNTS = [0, 1, 2, 9, 170, 171, 1022, 1023, 1024, 1025, 10_000, 2**20]


def exact(counts):
    with mpmath.workdps(30):
        return torch.tensor([float(mpmath.loggamma(k + 1)) for k in counts], dtype=torch.float64)


def test_factorials_to_the_rounding_of_float64():
    for dtype in (torch.float32, torch.float64):
        ours = log_factorial(torch.tensor(COUNTS, dtype=dtype), max(COUNTS))
        torch.testing.assert_close(ours, exact(COUNTS), rtol=4 * 2.0**-52, atol=0)


def test_few_counts_of_any_shape_are_read_off_the_table():
    counts = torch.arange(12.0).reshape(3, 4)
    torch.testing.assert_close(log_factorial(counts, 11.0).reshape(-1), exact(range(12)), rtol=2 * 2.0**-52, atol=0)
    assert log_factorial(torch.tensor(3.0), 3.0).shape == ()
