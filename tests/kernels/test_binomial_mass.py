"""The binomial and negative binomial probability against many digits, on the quick way and on the other."""

import math
from functools import partial

import mpmath
import pytest
import torch

from posterity.kernels.binomial_mass import (
    binomial_terms,
    log_binomial_mass,
    log_negative_binomial_mass,
    negative_binomial_terms,
    quick_binomial_mass,
    quick_negative_binomial_mass,
)

CASES = [(0.0, 7.0, 0.2), (3.0, 7.0, 0.7), (7.0, 7.0, 0.01), (30.0, 60.0, 0.5), (300.0, 1000.0, 0.31), (3e5, 1e6, 0.3)]


def exact_binomial(k, n, p):
    with mpmath.workdps(40):
        k, n, p = map(mpmath.mpf, (k, n, p))
        orders = mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)
        return float(orders + k * mpmath.log(p) + (n - k) * mpmath.log(1 - p))


def exact_negative(k, r, p):
    with mpmath.workdps(40):
        k, r, p = map(mpmath.mpf, (k, r, p))
        orders = mpmath.loggamma(r + k) - mpmath.loggamma(k + 1) - mpmath.loggamma(r)
        return float(orders + k * mpmath.log(p) + r * mpmath.log(1 - p))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("mass", "exact"), [(log_binomial_mass, exact_binomial), (log_negative_binomial_mass, exact_negative)]
)
def test_the_mass_keeps_its_digits(mass, exact, dtype):
    eps = torch.finfo(dtype).eps
    for case in CASES:
        k, n, p = (torch.tensor(v, dtype=dtype) for v in case)
        reference = exact(k.item(), n.item(), p.item())
        # Three factorials of up to 64 are rounded as such. A rounding of a parameter moves the value by as many
        # roundings as the excess has standard deviations.
        excess = abs(k.item() - n.item() * p.item()) / max(n.item() * p.item() * (1 - p.item()), 1) ** 0.5
        allowed = 16 * eps * (1 + abs(reference) + excess * n.item() ** 0.5) + 3 * 2.0**-53 * 64 * math.log(64)
        assert float(mass(k, n, p, logits=False)) == pytest.approx(reference, abs=allowed)
        # The value is of logits as rounded, which a probability turns into a few more roundings.
        logit = (p.double().log() - torch.log1p(-p.double())).to(dtype)
        rounded = float(torch.sigmoid(logit.double()))
        reference = exact(k.item(), n.item(), rounded)
        assert float(mass(k, n, logit, logits=True)) == pytest.approx(reference, abs=allowed)


def test_certain_outcomes():
    zero, one, n = torch.tensor(0.0), torch.tensor(1.0), torch.tensor(5.0)
    assert float(log_binomial_mass(zero, n, zero, logits=False)) == 0
    assert float(log_binomial_mass(one, n, zero, logits=False)) == -math.inf
    assert float(log_binomial_mass(n, n, one, logits=False)) == 0
    assert float(log_negative_binomial_mass(zero, n, zero, logits=False)) == 0
    assert float(log_negative_binomial_mass(zero, zero, one / 2, logits=False)) == 0


@pytest.mark.parametrize("mass", [log_binomial_mass, log_negative_binomial_mass])
@pytest.mark.parametrize("logits", [False, True])
def test_derivatives_to_the_second_order(mass, logits):
    k = torch.tensor([0.5, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    n = torch.tensor([1.5, 5.0, 90.0], dtype=torch.float64, requires_grad=True)
    given = torch.tensor([0.3, 0.6, 0.4], dtype=torch.float64, requires_grad=True)

    def function(k, n, given):
        return mass(k, n, given, logits=logits)

    assert torch.autograd.gradcheck(function, (k, n, given))
    assert torch.autograd.gradgradcheck(function, (k, n, given))


def test_a_count_of_zero_has_finite_gradients_at_the_ends():
    zero, n = torch.tensor(0.0), torch.tensor(5.0)
    by_probs = torch.func.grad(lambda p: log_binomial_mass(zero, n, p, logits=False))
    assert float(by_probs(zero)) == -5
    by_failures = torch.func.grad(lambda r: log_negative_binomial_mass(zero, r, n / 10, logits=False))
    assert float(by_failures(zero)) == pytest.approx(math.log(0.5))


def test_a_graph_gives_what_eager_code_gives():
    k, n, p = torch.tensor([0.0, 3.0, 7.0]), torch.tensor([7.0, 9.0, 8.0]), torch.tensor([0.1, 0.5, 0.9])
    for mass in (log_binomial_mass, log_negative_binomial_mass):
        by_probs = partial(mass, logits=False)
        graph = torch.compile(by_probs, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(graph(k, n, p), by_probs(k, n, p), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.vmap(by_probs)(k, n, p), by_probs(k, n, p), rtol=1e-5, atol=1e-5)


def test_what_the_quick_way_leaves_to_the_other():
    n, p = torch.tensor([8.0, 9.0]), torch.tensor([0.5, 0.25])
    terms = binomial_terms(n, p, logits=False)
    negative = negative_binomial_terms(n, p, logits=False)
    assert quick_binomial_mass(torch.tensor([8.0, 0.0]), n, terms) is not None
    for outside in (torch.tensor([9.0, 0.0]), torch.tensor([-1.0, 0.0]), torch.tensor([0.5, 0.0])):
        assert quick_binomial_mass(outside, n, terms) is None
    assert quick_negative_binomial_mass(torch.tensor([-1.0, 0.0]), n, negative) is None
    assert quick_negative_binomial_mass(torch.tensor([1.0, math.nan]), n, negative) is None
    for count, given in ((n, p * 0), (n, p.clone().requires_grad_()), (n * 2.0**20, p), (n + 0.5, p)):
        assert binomial_terms(count, given, logits=False) is None
    # A failures' number need not be whole.
    quick = quick_negative_binomial_mass(n, n + 0.5, negative_binomial_terms(n + 0.5, p, logits=False))
    reference = [exact_negative(*map(float, case)) for case in zip(n, n + 0.5, p, strict=True)]
    torch.testing.assert_close(quick.double(), torch.tensor(reference, dtype=torch.float64), rtol=1e-6, atol=0)
