"""Isokinetic integrators are reversible, of second order, and know how they change volume."""

import math

import pytest
import scipy.linalg
import torch

from posterity.infer.mcmc.integrators import PhasePoint
from posterity.infer.mcmc.isokinetic import KICKS, isokinetic_step, unit

OUTER_KICK = KICKS["minimal_norm"][0]


class Quartic:
    """A density with a gradient that depends on all coordinates, differentiable once more."""

    def __init__(self, dim):
        self.dim = dim

    def log_density(self, z):
        return -0.25 * z.pow(4).sum(-1) - 0.5 * z.sum(-1).square()

    def value_and_grad(self, z):
        return self.log_density(z), -z.pow(3) - z.sum(-1, keepdim=True)


def start_at(target, num_chains, dtype=torch.float64, seed=0):
    draws = torch.randn(2, num_chains, target.dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return PhasePoint(draws[0], unit(draws[1]), *target.value_and_grad(draws[0]))


def steps(target, point, step_size, number, kicks):
    """The point after so many steps, and the sum of the energy changes."""
    total, size = 0, torch.full(point.log_density.shape, step_size, dtype=torch.float64)
    for _ in range(number):
        point, change = isokinetic_step(target, point, size, kicks)
        total = total + change
    return point, total


@pytest.mark.parametrize("scheme", KICKS)
def test_turned_round_it_leads_back(scheme):
    target = Quartic(5)
    start = start_at(target, 20)
    end, there = steps(target, start, 0.3, 20, KICKS[scheme])
    assert (end.position - start.position).abs().max() > 1
    back, home = steps(target, end._replace(momentum=-end.momentum), 0.3, 20, KICKS[scheme])
    # Neighbouring paths part like exp(time) at most here, times twenty steps' rounding.
    torch.testing.assert_close(back.position, start.position, rtol=0, atol=1e-10)
    torch.testing.assert_close(-back.momentum, start.momentum, rtol=0, atol=1e-10)
    torch.testing.assert_close(home, -there, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scheme", KICKS)
def test_the_speed_stays_one_to_rounding(scheme, dtype):
    target = Quartic(50)
    end, _ = steps(target, start_at(target, 8, dtype), 0.2, 50, KICKS[scheme])
    assert end.momentum.dtype == end.position.dtype == dtype
    assert (end.momentum.norm(dim=-1) - 1).abs().max() < 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize("scheme", KICKS)
def test_errors_fall_with_the_square_of_the_step(scheme):
    target = Quartic(5)
    start = start_at(target, 20)
    exact, _ = steps(target, start, 2.0 / 2000, 2000, KICKS[scheme])
    error, energy = [], []
    for number in (40, 80):
        end, change = steps(target, start, 2.0 / number, number, KICKS[scheme])
        error.append((end.position - exact.position).norm())
        energy.append(change.norm())
    # The next term of the expansion is smaller by the square of the step, 0.0025, and its coefficient.
    assert 3.7 < error[0] / error[1] < 4.3
    assert 3.7 < energy[0] / energy[1] < 4.3


def test_minimal_norm_errs_less_than_leapfrogs_at_the_same_cost():
    target = Quartic(20)
    start = start_at(target, 50)
    _, double = steps(target, start, 0.2, 10, KICKS["minimal_norm"])
    _, single = steps(target, start, 0.1, 20, KICKS["leapfrog"])
    assert double.norm() < 0.5 * single.norm()


@pytest.mark.parametrize("scheme", KICKS)
def test_the_energy_change_is_that_of_density_times_volume(scheme):
    # exp(-change) must be pi(x') |J| / pi(x) with the Jacobian of the map of positions and directions.
    target, step_size = Quartic(4), torch.full((1,), 0.7, dtype=torch.float64)
    start = start_at(target, 1)
    end, change = isokinetic_step(target, start, step_size, KICKS[scheme])

    def moved(both):
        position, direction = both.reshape(2, 1, 4)
        point = PhasePoint(position, direction, *target.value_and_grad(position))
        new, _ = isokinetic_step(target, point, step_size, KICKS[scheme])
        return torch.cat([new.position.flatten(), new.momentum.flatten()])

    jacobian = torch.autograd.functional.jacobian(moved, torch.cat([start.position, start.momentum]).flatten())
    frames = [torch.block_diag(torch.eye(4, dtype=torch.float64), _tangents(p.momentum)) for p in (start, end)]
    volume = torch.linalg.slogdet(frames[1].T @ jacobian @ frames[0])[1]
    gain = target.log_density(end.position) - target.log_density(start.position)
    torch.testing.assert_close(-change, gain + volume, rtol=1e-10, atol=1e-10)
    assert change.abs() > 1e-3


def _tangents(direction):
    """An orthonormal basis of what is at right angles to a direction, in columns."""
    return torch.linalg.svd(direction)[2][1:].T


def test_where_the_density_is_flat_nothing_turns():
    flat = Quartic(3)
    flat.value_and_grad = lambda z: (torch.zeros_like(z[..., 0]), torch.zeros_like(z))
    start = start_at(flat, 4)
    end, change = steps(flat, start, 0.5, 3, KICKS["leapfrog"])
    torch.testing.assert_close(end.momentum, start.momentum)
    torch.testing.assert_close(end.position, start.position + 1.5 * start.momentum)
    assert (change == 0).all()


def test_a_steep_slope_turns_everything_along_itself():
    steep = Quartic(3)
    slope = torch.tensor([1e8, 0.0, 0.0], dtype=torch.float64)
    steep.value_and_grad = lambda z: (z @ slope, slope.expand_as(z))
    end, change = steps(steep, start_at(steep, 100), 0.5, 1, KICKS["leapfrog"])
    assert end.momentum.isfinite().all()
    torch.testing.assert_close(end.momentum[:, 0], torch.ones(100, dtype=torch.float64))
    # Along a straight slope the exact dynamics keep the energy; drifts before the turn lose half a step of climbing.
    assert (change.abs() < 1e8).all()
    assert not math.isnan(float(change.sum()))


def test_the_weights_of_the_minimal_norm_make_the_error_terms_smallest():
    generator = torch.Generator().manual_seed(0)
    a, b = (0.5 * torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    h = 0.02

    def bracket(x, y):
        return x @ y - y @ x

    def norm(kick):
        """Of the coefficients of [A, [A, B]] and [B, [A, B]] in the logarithm of drifts A between kicks B."""
        outer, drift, inner = (torch.matrix_exp(h * m) for m in (kick * b, 0.5 * a, (1 - 2 * kick) * b))
        product = outer @ drift @ inner @ drift @ outer
        error = (torch.from_numpy(scipy.linalg.logm(product.numpy()).real) - h * (a + b)) / h**3
        terms = torch.stack([bracket(a, bracket(a, b)).flatten(), bracket(b, bracket(a, b)).flatten()], -1)
        return torch.linalg.lstsq(terms, error.reshape(-1, 1)).solution.square().sum().item()

    best = norm(OUTER_KICK)
    # The norm is a parabola there; the coefficients are found within O(h^2).
    assert best < norm(OUTER_KICK - 0.01)
    assert best < norm(OUTER_KICK + 0.01)
    exact = ((1 - 6 * OUTER_KICK + 6 * OUTER_KICK**2) / 12) ** 2 + ((1 - 6 * OUTER_KICK) / 24) ** 2
    assert best == pytest.approx(exact, rel=20 * h**2)
