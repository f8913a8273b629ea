import subprocess
import sys

import pytest
import torch

from posterity.kernels.elementwise import BLOCK, elementwise, in_blocks


@elementwise(lambda x, a, value: a * power(x, a - 1), lambda x, a, value: value * x.log())
def power(x, a):
    return torch.exp(a * torch.log(x))


X = torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64, requires_grad=True)
A = torch.tensor([[0.3], [2.0]], dtype=torch.float64, requires_grad=True)


def test_derivatives_of_both_orders_and_modes():
    assert torch.autograd.gradcheck(power, (X, A), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(power, (X, A))


NESTINGS = {
    "plain": lambda x, a: power(x, a).sum(),
    "vmap": lambda x, a: torch.vmap(lambda row: power(x, row))(a).sum(),
    "grad": lambda x, a: torch.func.grad(lambda x: power(x, a).sum())(x).sum(),
    "vmap of grad": lambda x, a: torch.vmap(torch.func.grad(power), (0, None))(x, a[1, 0]).sum(),
    "jvp": lambda x, a: torch.func.jvp(lambda x: power(x, a), (x,), (torch.ones_like(x),))[1].sum(),
    "hessian": lambda x, a: torch.func.hessian(lambda x: power(x, a).sum())(x).sum(),
}


@pytest.mark.parametrize("name", NESTINGS)
def test_compiled_in_one_graph_in_every_nesting(name):
    torch.compiler.reset()
    function = NESTINGS[name]
    expected = function(X, A)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")(X, A)
    torch.testing.assert_close(compiled, expected)
    for ours, exact in zip(torch.autograd.grad(compiled, (X, A)), torch.autograd.grad(expected, (X, A)), strict=True):
        torch.testing.assert_close(ours, exact)


def test_large_tensors_are_worked_on_in_blocks():
    sizes = []

    @elementwise(None)
    def double(x):
        sizes.append(x.numel())
        return 2 * x

    size = BLOCK // 4
    x = torch.arange(5.0 * size + 3).view(1, -1).expand(2, -1)
    torch.testing.assert_close(double(x), 2 * x)
    assert max(sizes) == size


def test_a_formula_is_worked_on_in_blocks_where_only_its_values_are_asked_for():
    sizes = []

    def ratio(x, y):
        sizes.append(max(x.numel(), y.numel()))
        return x / (x + y)

    x, y = torch.rand(2, BLOCK // 4, 3).unbind()
    torch.testing.assert_close(in_blocks(ratio, x, y), x / (x + y), rtol=0, atol=0)
    assert max(sizes) == BLOCK // 4
    # A graph holds the formula once, and broadcasting is left to torch.
    for a, b in ((x.clone().requires_grad_(), y), (x, y[0])):
        sizes.clear()
        torch.testing.assert_close(in_blocks(ratio, a, b), x / (x + b), rtol=0, atol=0, check_stride=True)
        assert sizes == [x.numel()]


def test_an_autograd_function_is_made_only_where_a_derivative_may_be_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.autograd.Function, "apply", lambda *arguments: seen.append(arguments))
    exact = A.detach() * X.detach()
    torch.testing.assert_close(power(X.detach(), A.detach()), X.detach() ** A.detach())
    with torch.no_grad():
        assert power(X, A).shape == exact.shape
    assert not seen
    power(X, A)
    assert len(seen) == 1


def test_an_argument_without_derivative_gets_no_gradient():
    @elementwise(lambda x, n, value: n, None)
    def scaled(x, n):
        return n * x

    x, n = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    scaled(x, n).sum().backward()
    assert x.grad is not None
    assert n.grad is None


def test_numbers_and_integers_follow_the_floating_tensors():
    assert power(torch.tensor([4.0], dtype=torch.float64), 0.5).dtype == torch.float64
    assert power(torch.tensor([4]), 0.5).dtype == torch.float32
    with pytest.raises(TypeError, match="power takes real tensors, .* got: float, float"):
        power(2.0, 3.0)
    with pytest.raises(TypeError, match="got: torch.complex64, float"):
        power(torch.ones(1, dtype=torch.complex64), 3.0)


def test_importing_the_library_does_not_import_the_compiler():
    code = "import sys, posterity as pt; pt.bayesianize, pt.bijectors; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
