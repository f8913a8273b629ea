"""L-BFGS goes downhill from many points at once, and learns the curvature on its way."""

import torch

from posterity.infer.quasi_newton import History, minimise


def spd(dim, seed=0):
    root = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.mT / dim + 0.2 * torch.eye(dim, dtype=torch.float64)


def filled(matrix, pairs, history_size=4):
    dim = len(matrix)
    empty = torch.zeros(1, history_size, dim, dtype=torch.float64)
    history = History(torch.ones(1, dim, dtype=torch.float64), empty, empty)
    generator = torch.Generator().manual_seed(1)
    for _ in range(pairs):
        step = torch.randn(1, dim, generator=generator, dtype=torch.float64)
        history = history.with_pair(step, step @ matrix)
    return history


def dense(hessian):
    return torch.diag_embed(hessian.diagonal) + hessian.vectors @ hessian.middle @ hessian.vectors.mT


def bfgs(history):
    """The inverse Hessian by the recursion of Nocedal and Wright (2006), equation 7.16."""
    dim = history.diagonal.shape[-1]
    found, eye = torch.diag(history.diagonal[0]), torch.eye(dim, dtype=torch.float64)
    for step, change in zip(history.steps[0], history.changes[0], strict=True):
        if (step != 0).any():
            rho = 1 / (step @ change)
            left = eye - rho * torch.outer(step, change)
            found = left @ found @ left.mT + rho * torch.outer(step, step)
    return found


def test_the_compact_form_is_the_recursion():
    for pairs in (0, 2, 4, 7):
        history = filled(spd(6), pairs)
        hessian = history.inverse_hessian()
        torch.testing.assert_close(dense(hessian)[0], bfgs(history))
        vector = torch.randn(1, 6, dtype=torch.float64)
        torch.testing.assert_close(hessian.times(vector), (dense(hessian) @ vector.mT).mT[0])


def test_the_last_pair_is_satisfied():
    history = filled(spd(6), 7)
    product = history.inverse_hessian().times(history.changes[:, -1])
    torch.testing.assert_close(product, history.steps[:, -1])


def test_the_diagonal_is_that_of_the_bfgs_update_of_the_scaled_diagonal_matrix():
    matrix = spd(5)
    before, after = filled(matrix, 2), filled(matrix, 3)
    step, change = after.steps[0, -1], after.changes[0, -1]
    scaled = torch.diag(1 / before.diagonal[0]) * (change @ (before.diagonal[0] * change)) / (change @ step)
    updated = scaled - torch.outer(scaled @ step, scaled @ step) / (step @ scaled @ step)
    updated = updated + torch.outer(change, change) / (change @ step)
    torch.testing.assert_close(after.diagonal[0], 1 / updated.diagonal())


def test_pairs_of_negative_curvature_change_nothing():
    history = filled(spd(6), 3)
    step = torch.ones(1, 6, dtype=torch.float64)
    for before, after in zip(history, history.with_pair(step, -step), strict=True):
        assert torch.equal(before, after)


def rosenbrock(z):
    a, b = z.unbind(-1)
    return (1 - a).square() + 100 * (b - a.square()).square()


def value_and_grad(function):
    def both(z):
        return function(z), torch.func.grad(lambda z: function(z).sum())(z)

    return both


def test_all_starts_come_to_the_minimum():
    starts = torch.tensor([[-1.2, 1.0], [2.0, -1.0], [0.0, 3.0]], dtype=torch.float64)
    path, histories = minimise(value_and_grad(rosenbrock), starts, history_size=6, max_steps=200, tolerance=1e-12)
    torch.testing.assert_close(path.points[-1], torch.ones(3, 2, dtype=torch.float64), rtol=0, atol=1e-4)
    assert len(histories) == len(path.points) == len(path.values)
    assert (path.values.diff(dim=0) <= 0).all()
    assert torch.equal(path.points[0], starts)


def test_each_path_is_what_it_is_alone():
    starts = torch.tensor([[-1.2, 1.0], [2.0, -1.0]], dtype=torch.float64)
    options = {"history_size": 4, "max_steps": 30, "tolerance": 1e-9}
    together, _ = minimise(value_and_grad(rosenbrock), starts, **options)
    for i in range(2):
        alone, _ = minimise(value_and_grad(rosenbrock), starts[i : i + 1], **options)
        number = int(alone.is_new.sum())
        torch.testing.assert_close(together.points[:number, i], alone.points[:number, 0])


def test_a_wall_is_not_crossed():
    def barrier(z):
        return torch.where(z > 0, z - z.clamp(min=1e-300).log(), torch.inf).sum(-1)

    start = torch.full((1, 2), 5.0, dtype=torch.float64)
    path, _ = minimise(value_and_grad(barrier), start, history_size=4, max_steps=50, tolerance=1e-12)
    torch.testing.assert_close(path.points[-1], torch.ones(1, 2, dtype=torch.float64), rtol=0, atol=1e-5)
