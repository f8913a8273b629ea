"""The leapfrog is reversible, keeps volumes, and errs by the square of its step."""

import torch

from posterity.infer.mcmc.integrators import velocity_verlet

EPS = torch.finfo(torch.float64).eps
MATRIX = torch.tensor([[1.0, 0.3, 0.0], [0.3, 2.0, -0.5], [0.0, -0.5, 0.7]], dtype=torch.float64)


def quartic(u):
    """An anharmonic log density, and its gradient, both differentiable."""
    pull = u.pow(3) + u @ MATRIX
    return -(0.25 * u.pow(4).sum(-1) + 0.5 * (u * (u @ MATRIX)).sum(-1)), -pull


def harmonic(u):
    return -0.5 * u.square().sum(-1), -u


def start(num_chains=5, dim=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, num_chains, dim, generator=generator, dtype=torch.float64).unbind(0)


def energy(u, p, target):
    return 0.5 * p.square().sum(-1) - target(u)[0]


def trajectory(target, u, p, step_size, num_steps):
    """Positions and momenta after each step."""
    gradient, path = target(u)[1], []
    for _ in range(num_steps):
        u, p, _, gradient = velocity_verlet(target, u, p, gradient, step_size)
        path.append((u, p))
    return path


def steps(length, num_chains=5):
    return torch.full((num_chains,), length, dtype=torch.float64)


def test_with_the_momentum_turned_round_the_way_leads_back():
    u, p = start()
    num_steps = 20
    end, momentum = trajectory(quartic, u, p, steps(0.1), num_steps)[-1]
    back, turned = trajectory(quartic, end, -momentum, steps(0.1), num_steps)[-1]
    # Each step rounds about ten times, and what it was off by grows along with the number of steps at most.
    tolerance = 10 * EPS * (2 * num_steps) ** 2
    torch.testing.assert_close(back, u, rtol=0, atol=tolerance)
    torch.testing.assert_close(-turned, p, rtol=0, atol=tolerance)


def test_a_negative_step_takes_a_step_back():
    u, p = start()
    there = velocity_verlet(quartic, u, p, quartic(u)[1], steps(0.3))
    back = velocity_verlet(quartic, there.position, there.momentum, there.gradient, -steps(0.3))
    torch.testing.assert_close(back.position, u, rtol=0, atol=100 * EPS)
    torch.testing.assert_close(back.momentum, p, rtol=0, atol=100 * EPS)


def test_the_density_and_gradient_returned_are_those_of_the_new_position():
    u, p = start()
    point = velocity_verlet(quartic, u, p, quartic(u)[1], steps(0.3))
    for found, expected in zip(point[2:], quartic(point.position), strict=True):
        assert torch.equal(found, expected)


def test_the_energy_errs_by_the_square_of_the_step():
    u, p = start(num_chains=3)
    before = energy(u, p, quartic)

    def error(num_steps):
        end = trajectory(quartic, u, p, steps(1.0 / num_steps, 3), num_steps)[-1]
        return (energy(*end, quartic) - before).abs()

    coarse, middle, fine = (error(number) for number in (32, 64, 128))
    # A symmetric method errs by c2 h^2 + c4 h^4 + ...: halving the step divides the error by 4 + a h^2 + O(h^4), so
    # that halving it again brings the ratio four times closer to 4. The bound leaves the O(h^4) as much as that.
    first, second = coarse / middle - 4, middle / fine - 4
    assert (first.abs() < 0.5).all()
    assert ((second - first / 4).abs() <= first.abs() / 4).all()


def test_a_step_is_symplectic():
    u, p = start(num_chains=1)

    def step(point):
        u, p = point.unsqueeze(0).split(3, -1)
        after = velocity_verlet(quartic, u, p, quartic(u)[1], steps(0.4, 1))
        return torch.cat([after.position, after.momentum], -1).squeeze(0)

    jacobian = torch.func.jacrev(step)(torch.cat([u, p], -1).squeeze(0))
    eye, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    form = torch.cat([torch.cat([zero, eye], 1), torch.cat([-eye, zero], 1)])
    # Entries are sums of 36 products of numbers below 10.
    torch.testing.assert_close(jacobian.mT @ form @ jacobian, form, rtol=0, atol=3600 * EPS)
    torch.testing.assert_close(torch.linalg.det(jacobian).item(), 1.0, rtol=0, atol=3600 * EPS)


def test_on_the_harmonic_oscillator_the_leapfrog_keeps_its_own_energy():
    # p^2 + (1 - h^2 / 4) u^2, of which the step's matrix [[1 - h^2/2, h], [-h (1 - h^2/4), 1 - h^2/2]] is a rotation.
    u, p = start(dim=1)
    h = 0.9
    kept = p.square() + (1 - h * h / 4) * u.square()
    for position, momentum in trajectory(harmonic, u, p, steps(h), 100):
        now = momentum.square() + (1 - h * h / 4) * position.square()
        torch.testing.assert_close(now, kept, rtol=1000 * EPS, atol=0)


def test_each_chain_has_its_own_step():
    u, p = start()
    lengths = torch.linspace(0.1, 0.5, 5, dtype=torch.float64)
    together = velocity_verlet(quartic, u, p, quartic(u)[1], lengths)
    for i in range(5):
        alone = velocity_verlet(quartic, u[i], p[i], quartic(u[i])[1], lengths[i])
        torch.testing.assert_close(together.position[i], alone.position)
        torch.testing.assert_close(together.momentum[i], alone.momentum)


def test_float32_stays():
    u, p = (x.float() for x in start())
    point = velocity_verlet(harmonic, u, p, -u, steps(0.3))
    assert {part.dtype for part in point} == {torch.float32}
