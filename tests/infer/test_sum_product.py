"""Sums of products against sums over the unrolled graph by hand."""

import itertools
import math

import pytest
import torch

from posterity.infer.sum_product import (
    LogFactor,
    connected,
    eliminate,
    log_sum_exp,
    multiply,
    multiply_over,
    sum_product,
)

NO = frozenset()


def log_factor(*dims, sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LogFactor(torch.randn([sizes[d] for d in dims], generator=generator, dtype=torch.float64), dims)


def unrolled(factors, variables, plates, sizes):
    """The sum over all values of all copies of all variables, each plate written out."""

    def places(names):
        return list(itertools.product(*(range(sizes[name]) for name in sorted(names))))

    copies = [(name, place) for name, around in variables.items() for place in places(around)]
    total = []
    for values in itertools.product(*(range(sizes[name]) for name, _ in copies)):
        value = dict(zip(copies, values, strict=True))
        log = torch.zeros((), dtype=torch.float64)
        for factor in factors:
            around = sorted(set(factor.dims) & set(plates))
            for place in places(around):
                at = dict(zip(around, place, strict=True))
                where = [
                    at[d] if d in at else value[d, tuple(at[p] for p in sorted(variables[d]))] for d in factor.dims
                ]
                log = log + factor.value[tuple(where)]
        total.append(log)
    return torch.stack(total).logsumexp(0)


GRAPHS = {
    "a chain": ({"a": NO, "b": NO, "c": NO}, [("a",), ("b", "a"), ("b", "c")]),
    "a loop": ({"a": NO, "b": NO, "c": NO}, [("a", "b"), ("b", "c"), ("c", "a")]),
    "one outside, one inside": ({"a": NO, "b": frozenset("p")}, [("a",), ("a", "p"), ("b", "p", "a"), ("p", "b")]),
    "three deep": (
        {"a": NO, "b": frozenset("p"), "c": frozenset("pq")},
        [("a",), ("a", "p", "b"), ("c", "b", "p", "q"), ("q", "p", "c", "a")],
    ),
    "two plates beside one another": (
        {"a": NO, "b": frozenset("p"), "c": frozenset("q")},
        [("a",), ("a", "b", "p"), ("c", "a", "q"), ("p",), ("q", "c")],
    ),
    "an outer plate that one variable skips": (
        {"a": NO, "c": frozenset("pq"), "b": frozenset("p")},
        [("a", "c", "p", "q"), ("b", "p"), ("c", "q", "p")],
    ),
    "several parts": ({"a": NO, "b": frozenset("p")}, [("a",), ("b", "p"), ("p",), ()]),
}
SIZES = {"a": 2, "b": 3, "c": 2, "p": 2, "q": 2}


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_sum_is_that_over_the_unrolled_graph(graph):
    variables, factors = GRAPHS[graph]
    factors = [log_factor(*dims, sizes=SIZES, seed=i) for i, dims in enumerate(factors)]
    plates = {"p": 1.0, "q": 1.0}
    left = sum_product(factors, variables, plates)
    assert all(factor.dims == () for factor in left)
    expected = unrolled(factors, variables, plates, SIZES)
    assert abs(sum(factor.value for factor in left) - expected) < 1e-12


def test_the_largest_term_is_that_of_the_unrolled_graph():
    variables, dims = GRAPHS["three deep"]
    factors = [log_factor(*names, sizes=SIZES, seed=i) for i, names in enumerate(dims)]
    (largest,) = sum_product(factors, variables, {"p": 1.0, "q": 1.0}, reduce=torch.amax)
    # Raised to a high power, the largest term is all there is: log of at most 2^7 * 3^2 terms over it.
    power = 1e4
    sharp = [LogFactor(f.value * power, f.dims) for f in factors]
    (total,) = sum_product(sharp, variables, {"p": 1.0, "q": 1.0})
    assert 0 <= total.value / power - largest.value + 1e-9 < math.log(2**7 * 3**2) / power + 2e-9


def test_a_plate_is_raised_to_its_power():
    a = log_factor("a", sizes=SIZES)
    b = log_factor("a", "p", sizes=SIZES, seed=1)
    (left,) = sum_product([a, b], {"a": NO}, {"p": 2.5})
    assert abs(left.value - (a.value + 2.5 * b.value.sum(1)).logsumexp(0)) < 1e-13


def test_variables_that_stay_keep_their_plates():
    factor = log_factor("g", "a", "p", "q", sizes={**SIZES, "g": 3})
    variables, kept = {"a": frozenset("pq")}, {"g": frozenset("p")}
    (left,) = sum_product([factor], variables, {"p": 1.0, "q": 1.0}, kept)
    assert set(left.dims) == {"g", "p"}
    torch.testing.assert_close(left.value, factor.value.logsumexp(1).sum(2))


def test_steps_tell_what_each_variable_was_summed_out_of():
    factors = [log_factor("a", sizes=SIZES), log_factor("b", "a", sizes=SIZES, seed=1)]
    steps = []
    (left,) = sum_product(factors, {"a": NO, "b": NO}, steps=steps)
    assert sorted(name for name, _ in steps) == ["a", "b"]
    assert set(steps[0][1].dims) == {"a", "b"}
    torch.testing.assert_close(steps[-1][1].value.logsumexp(-1), left.value)


def test_the_cheapest_variable_goes_first():
    # A star: summing out its centre first would make a tensor of all leaves.
    sizes = {"centre": 10, **{f"leaf {i}": 10 for i in range(12)}}
    factors = [log_factor("centre", f"leaf {i}", sizes=sizes, seed=i) for i in range(12)]
    steps = []
    sum_product(factors, dict.fromkeys(sizes, NO), steps=steps)
    assert max(factor.value.numel() for _, factor in steps) == 100


def test_a_long_chain_is_summed_by_matrices():
    sizes = {f"x{t}": 3 for t in range(200)}
    factors = [log_factor(f"x{t}", f"x{t + 1}", sizes=sizes, seed=t) for t in range(199)]
    (left,) = sum_product(factors, dict.fromkeys(sizes, NO))
    message, scale = torch.ones(3, dtype=torch.float64), 0.0
    for factor in factors:
        message = message @ factor.value.exp()
        scale += message.sum().log()
        message = message / message.sum()
    assert abs(left.value - scale) < 1e-10


def test_log_sum_exp_is_torchs_with_a_gradient_where_all_is_impossible():
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(log_sum_exp(x, -1), x.logsumexp(-1))
    x[1], x[2, 0] = -torch.inf, -torch.inf
    x.requires_grad_()
    total = log_sum_exp(x, -1)
    assert total[1] == -torch.inf
    (gradient,) = torch.autograd.grad(total[[0, 2]].sum() + total[1], x)
    torch.testing.assert_close(gradient, torch.where(x > -torch.inf, x.softmax(-1), 0.0).nan_to_num())


def test_log_sum_exp_has_second_derivatives():
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: log_sum_exp(x, -1), x)


def test_products_are_over_all_dimensions():
    a, b = log_factor("a", "b", sizes=SIZES), log_factor("c", "a", sizes=SIZES, seed=1)
    product = multiply([a, b], last="a")
    assert product.dims == ("b", "c", "a")
    torch.testing.assert_close(product.value, a.value.T[:, None, :] + b.value)
    assert multiply([a]) is a


def test_products_over_plates_are_sums_of_logarithms():
    factor = log_factor("p", "a", "q", sizes=SIZES)
    left = multiply_over(factor, {"p": 2.0, "q": 3.0})
    assert left.dims == ("a",)
    torch.testing.assert_close(left.value, 6 * factor.value.sum((0, 2)))


def test_parts_share_no_name():
    parts = connected([("a", "p"), ("b", "p"), ("a", "c"), ("p",), ("c", "b")], {"a", "b", "c"})
    assert sorted(sorted(part) for part in parts) == [[0, 1, 2, 4], [3]]


def test_elimination_leaves_other_names():
    factor = log_factor("a", "b", sizes=SIZES)
    (left,) = eliminate([factor], {"a"})
    torch.testing.assert_close(left.value, factor.value.logsumexp(0))


def test_variables_coupled_across_a_plate_are_refused():
    factor = log_factor("a", "b", "p", "q", sizes=SIZES)
    with pytest.raises(NotImplementedError, match="'a', 'b' cannot be summed out: .*'p', 'q', they are coupled"):
        sum_product([factor], {"a": frozenset("p"), "b": frozenset("q")}, {"p": 1.0, "q": 1.0})


def test_a_factor_outside_of_its_variables_plate_is_refused():
    with pytest.raises(ValueError, match="variable 'a' is in plate 'p', but a factor over a, b is not"):
        sum_product([log_factor("a", "b", sizes=SIZES)], {"a": frozenset("p"), "b": NO}, {"p": 1.0})
