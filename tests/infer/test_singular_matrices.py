"""Factors of matrices that have none are NaN inside of a log density, and an error at the start."""

import pytest
import torch

import posterity as pt
from posterity import distributions as dist
from posterity.infer import HMC, MCMC
from posterity.infer.capture import can_compile, traced
from posterity.infer.mcmc.target import LogDensity
from posterity.infer.potential import Potential
from posterity.infer.singular_matrices import nan_where_singular
from posterity.kernels import Key


def double(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


GOOD = double(4.0, 1.0, 1.0, 3.0).reshape(2, 2)
BATCH = torch.stack([GOOD, torch.zeros(2, 2, dtype=torch.float64), 2 * GOOD])
RIGHT = double(1.0, 2.0, 3.0, 4.0, 5.0, 6.0).reshape(2, 3)
FUNCTIONS = {
    "cholesky": torch.linalg.cholesky,
    "upper cholesky": lambda a: torch.linalg.cholesky(a, upper=True),
    "old cholesky": torch.cholesky,
    "method cholesky": lambda a: a.cholesky(),
    "inv": torch.linalg.inv,
    "inverse": torch.inverse,
    "method inverse": lambda a: a.inverse(),
    "solve a matrix": lambda a: torch.linalg.solve(a, RIGHT),
    "solve a vector": lambda a: torch.linalg.solve(a, RIGHT[:, 0].expand(a.shape[:-1])),
    "solve from the right": lambda a: torch.linalg.solve(a, torch.cat([RIGHT.T, RIGHT.T]), left=False),
}


@pytest.mark.filterwarnings("ignore:torch.cholesky is deprecated")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_singular_matrix_of_a_batch_gives_nan_and_the_others_what_they_give(name):
    function = FUNCTIONS[name]
    with pytest.raises(torch.linalg.LinAlgError):
        function(BATCH)
    found = nan_where_singular(lambda: function(BATCH))
    assert found[1].isnan().all()
    for i in (0, 2):
        torch.testing.assert_close(found[i], function(BATCH[i]))
    torch.testing.assert_close(nan_where_singular(lambda: torch.vmap(function)(BATCH)), found, equal_nan=True)
    assert torch.equal(nan_where_singular(lambda: function(GOOD)), function(GOOD))


def test_who_asks_for_info_sees_no_difference():
    factor, info = nan_where_singular(lambda: torch.linalg.cholesky_ex(BATCH))
    expected = torch.linalg.cholesky_ex(BATCH)
    assert torch.equal(factor, expected.L)
    assert info.tolist() == [0, 1, 0]


def test_other_errors_come_back():
    with pytest.raises(ValueError, match="mine"):
        nan_where_singular(lambda: (_ for _ in ()).throw(ValueError("mine")))


def test_a_captured_graph_has_no_check_that_could_fail():
    graph = traced(lambda a: nan_where_singular(lambda: torch.linalg.cholesky(a)), [BATCH])
    assert "_linalg_check_errors" not in graph.code
    assert graph(BATCH)[1].isnan().all()


def bounded(x):
    """The covariance has a factor for |rho| < 1, which the prior does not know."""
    rho = pt.sample("rho", dist.Normal(double(0.0)[0], 1.0))
    one = torch.ones_like(rho)
    covariance = torch.stack([torch.stack([one, rho]), torch.stack([rho, one])])
    pt.sample("x", dist.MultivariateNormal(double(0.0, 0.0), scale_tril=torch.linalg.cholesky(covariance)), obs=x)


X = double(0.3, 0.8)
POINTS = double(0.5, 2.0, -0.3).unsqueeze(-1)


def test_a_potential_is_nan_at_the_bad_points_of_a_batch_alone():
    potential = Potential(bounded, (X,), source=Key(0))
    value, gradient = potential.value_and_grad(POINTS)
    assert value.isnan().tolist() == [False, True, False]
    for i in (0, 2):
        one = potential.value_and_grad(POINTS[i])
        torch.testing.assert_close((value[i], gradient[i]), one)
    assert potential.log_density(POINTS[1]).isnan()
    assert potential.vectorized
    plain = LogDensity(lambda z: torch.linalg.cholesky(1 - z.square().diag())[0, 0], dim=1)
    assert plain.log_density(POINTS).isnan().tolist() == [False, True, False]


@pytest.mark.filterwarnings("ignore:MCMC")  # so few draws are no sample
@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.skipif(not can_compile(), reason="-"))]
)
def test_a_chain_turns_down_proposals_without_a_factor(compiled):
    kernel = HMC(bounded, num_steps=3, step_size=1.0, adapt_step_size=False, metric=None)
    mcmc = MCMC(kernel, 0, 40, 3, seed=0, progress=False, compile=compiled)
    mcmc.run(X)
    info = mcmc.get_extra_fields()
    assert info["is_divergent"].any()
    assert (info["accept_prob"][info["is_divergent"]] == 0).all()
    assert (mcmc.get_samples()["rho"].abs() < 1).all()


def test_at_a_start_the_error_says_what_has_no_factor():
    kernel = HMC(bounded)
    mcmc = MCMC(kernel, 0, 4, 1, initial_values={"rho": double(2.0)}, progress=False, compile=False)
    with pytest.raises(ValueError, match=r"initial values of chains \[0\] .* linalg.cholesky: .*not positive-definite"):
        mcmc.run(X)

    def never(x):
        rho = pt.sample("rho", dist.Normal(double(0.0)[0], 1.0))
        torch.linalg.cholesky(-1 - rho.square().reshape(1, 1))

    with pytest.raises(torch.linalg.LinAlgError, match="linalg.cholesky") as caught:
        MCMC(HMC(never), 0, 4, 1, progress=False, compile=False).run(X)
    assert any("last of 100 tries to find a start" in note for note in caught.value.__notes__)
