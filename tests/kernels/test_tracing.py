import pytest
import torch

from posterity.kernels import log1mexp
from posterity.kernels.tracing import expm1, iterate, once, traced, weighted_sums


def test_small_differences_from_one_keep_their_digits_when_compiled():
    x = torch.logspace(-20, 2, 67, dtype=torch.float64)
    x = torch.cat([-x, x])

    def both(x):
        return expm1(x), log1mexp(x.abs())

    torch.compiler.reset()
    # The sum of the series to eps / 2 and 1 / 0.35 times the rounding of exp, a few roundings together.
    for compiled, eager in zip(torch.compile(both, fullgraph=True)(x), both(x), strict=True):
        torch.testing.assert_close(compiled, eager, rtol=8 * torch.finfo(x.dtype).eps, atol=0)


def test_a_weighted_sum_is_the_same_stacked_and_in_a_loop():
    rule = [(0.25, 1.0), (0.5, -2.0), (2.0, 3.0)]
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)

    def sums(x):
        return weighted_sums(lambda node: [x * node, x**2 + node], rule, x)

    torch.compiler.reset()
    first, second = sums(x)
    torch.testing.assert_close(first, x * (0.25 - 1.0 + 6.0))
    torch.testing.assert_close(second, 2 * x**2 + 0.25 - 1.0 + 6.0)
    operation = torch.compiler.allow_in_graph(sums)
    compiled = torch.compile(operation, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, [first, second])


def test_tracing_is_seen_through_transformations():
    seen = []

    def look(x):
        seen.append(traced(x))
        return once(x) + 1

    x = torch.ones(3, 2)
    assert not traced(x)
    torch.vmap(look)(x)
    torch.fx.experimental.proxy_tensor.make_fx(torch.vmap(look), tracing_mode="fake")(x)
    assert seen == [False, True]


@pytest.mark.parametrize("far", [0, 3, 9])
def test_the_last_steps_are_for_those_that_need_them(far):
    sizes = []

    def newton(x, square):
        sizes.append(len(x))
        return 0.5 * (x + square / x), x * x - square

    square = torch.full((10,), 2.0, dtype=torch.float64)
    start = torch.full_like(square, 1.41421356)
    start[:far] = 3.0
    root = iterate(newton, start, (square,), 7, settled=1e-7)
    torch.testing.assert_close(root, square.sqrt(), rtol=1e-15, atol=0)
    # After the first step only those that began far away are left, if they are few.
    assert sizes[1:2] == {0: [], 3: [3], 9: [10]}[far]
