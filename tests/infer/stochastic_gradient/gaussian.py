"""Kernels on normal posteriors, where everything is linear and the law of the draws is known exactly."""

import numpy as np
import torch
from scipy import linalg


def run(kernel, gradient, position, num_steps, step_size, seed=0):
    """The state of independent chains after some steps."""
    generator = torch.Generator().manual_seed(seed)
    state = kernel.init(position)
    for _ in range(num_steps):
        noise = torch.randn(
            len(position), kernel.num_noises, position.shape[1], dtype=position.dtype, generator=generator
        )
        state, _ = kernel.step(state, gradient, noise, step_size)
    return state


def noisy(gradient, variance, seed=1):
    """A gradient with normal noise of a variance."""
    generator = torch.Generator().manual_seed(seed)

    def estimate(z):
        return gradient(z) + variance**0.5 * torch.randn(z.shape, dtype=z.dtype, generator=generator)

    return estimate


def linear_map(kernel, precision, step_size):
    """The matrices of a step at a normal posterior: by the state before, the noise, and the gradient's noise."""
    fields = len(kernel.init(torch.zeros(1, 1, dtype=torch.float64)))
    states = torch.eye(fields, dtype=torch.float64).unsqueeze(-1).unbind(1)  # chain i is the i-th unit vector
    state = type(kernel.init(torch.zeros(1, 1)))(*states)
    silent = torch.zeros(fields, kernel.num_noises, 1, dtype=torch.float64)
    after, _ = kernel.step(state, lambda z: -precision * z, silent, step_size)
    origin = type(state)(*(torch.zeros(1, 1, dtype=torch.float64) for _ in states))
    by_noise, _ = kernel.step(origin, lambda z: 0 * z, torch.ones_like(silent[:1]), step_size)
    by_gradient, _ = kernel.step(origin, lambda z: torch.ones_like(z), silent[:1], step_size)
    as_matrix = lambda s: torch.cat(list(s), -1).T.numpy()  # noqa: E731
    return as_matrix(after), as_matrix(by_noise), as_matrix(by_gradient)


def stationary(state_map, by_noise, by_gradient=None, gradient_variance=0.0):
    """The covariance that a linear step leaves as it is."""
    spread = by_noise @ by_noise.T
    if by_gradient is not None:
        spread = spread + gradient_variance * by_gradient @ by_gradient.T
    return linalg.solve_discrete_lyapunov(state_map, spread)


def bias(kernel, step_size):
    """How far the stationary variance of the position is from a standard normal posterior's."""
    state_map, by_noise, _ = linear_map(kernel, 1.0, step_size)
    return abs(float(stationary(state_map, by_noise)[0, 0]) - 1)


def assert_order(kernel, order):
    """The bias of the variance falls with the step size to a power."""
    sizes = np.array([1e-4, 1e-5])
    errors = np.array([bias(kernel, float(size)) for size in sizes])
    slope = np.log(errors[0] / errors[1]) / np.log(sizes[0] / sizes[1])
    # What the next order adds is less than its size at the larger step.
    assert abs(slope - order) < 0.05
