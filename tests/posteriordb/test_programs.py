"""Each program of the collection has the posterior density that its description writes down."""

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from posterity.infer import Potential
from posterity.runtime import without_validation
from tests.posteriordb import by_hand, records
from tests.posteriordb.catalogue import POSTERIORS
from tests.posteriordb.garch import decaying_sums
from tests.posteriordb.lotka_volterra import log_populations, scaled_path

# Nodes of the graph of a log density with its gradient; views and constants count.
GRAPH_NODES = 900


@pytest.fixture(params=POSTERIORS)
def name(request):
    if request.param not in records.small_names() and not records.is_there():
        pytest.skip(f"there is no {records.FOLDER}; set POSTERITY_DATA to the folder that holds posteriordb/")
    return request.param


def potential_of(name, data):
    posterior = POSTERIORS[name]
    return Potential(posterior.program, posterior.arguments(data))


def sites_at(moments, name):
    """The values of a program's sites that belong to numbers by the reference's names."""
    found = {}
    for parameter, number in moments.items():
        found.setdefault(parameter.partition("[")[0], []).append(number)
    values = {k: torch.tensor(v if f"{k}[1]" in moments else v[0]) for k, v in found.items()}
    if "noncentered" in name:
        values["theta_trans"] = (values.pop("theta") - values["mu"]) / values["tau"]
    if "garch" in name:
        alpha1, beta1 = values.pop("alpha1"), values.pop("beta1")
        values["weights"] = torch.stack([alpha1, beta1, 1 - alpha1 - beta1])
    return values


def points_near(reference, potential, name, num_points):
    """Random points around the posterior means, about half a posterior standard deviation off."""
    center = potential.unconstrain(sites_at({p: m.mean for p, m in reference.items()}, name))
    spread, values = {}, potential.constrain(center)
    for site, part in potential.unflatten(center).items():
        is_real = part.shape == values[site].shape and bool((part == values[site]).all())
        sds = [m.sd for p, m in reference.items() if p.partition("[")[0] == site]
        spread[site] = torch.tensor(sds).reshape(part.shape) if is_real and sds else torch.full_like(part, 0.4)
    return center + 0.5 * potential.flatten(spread) * torch.randn(num_points, potential.dim)


def log_jacobian(potential, z):
    """Log of the volume by which unconstrained space stretches, the last coordinate of a simplex left out."""

    def free(point):
        parts = potential.unflatten(point)
        return torch.cat([v.reshape(-1)[: parts[site].numel()] for site, v in potential.constrain(point).items()])

    return torch.linalg.slogdet(torch.autograd.functional.jacobian(free, z)).logabsdet


def test_the_log_density_is_the_described_one_up_to_a_constant(name):
    record = records.load(name)
    potential = potential_of(name, record.data)
    points = points_near(record.reference, potential, name, 6)
    expected = []
    for z in points:
        values = {site: value.numpy() for site, value in potential.constrain(z).items()}
        expected.append(by_hand.log_density(name, record.data, values) + log_jacobian(potential, z).item())
    log_density = potential.log_density(points)
    # Of the differential equations' solutions the error is stated; all else rounds.
    tolerance = 1e-4 if "lotka" in name else 1e-8 * log_density.abs().max().item()
    differences = (log_density - torch.tensor(expected)).numpy()
    np.testing.assert_allclose(differences[1:], differences[0], rtol=0, atol=tolerance)
    assert np.ptp(expected) > 10 * tolerance


def test_chains_run_together_and_have_finite_gradients_at_their_starts(name):
    potential = potential_of(name, records.load(name).data)
    values, gradients = potential.value_and_grad(potential.initial_points(4))
    assert potential.vectorized
    assert potential.dtype == values.dtype == torch.float64
    assert values.shape == (4,)
    assert gradients.shape == (4, potential.dim)
    assert values.isfinite().all()
    assert gradients.isfinite().all()


def test_log_density_and_gradient_are_one_graph_of_moderate_size(name):
    record = records.load(name)
    potential = potential_of(name, record.data)
    points = points_near(record.reference, potential, name, 2)
    with without_validation():
        trace = make_fx(lambda z: potential.value_and_grad(z), tracing_mode="fake", _allow_non_fake_inputs=True)
        graph = trace(points)
    graph.graph.eliminate_dead_code()
    assert len(graph.graph.nodes) <= GRAPH_NODES
    other = points.flip(0)
    for found, expected in zip(graph(other), potential.value_and_grad(other), strict=True):
        torch.testing.assert_close(found, expected)


def test_draws_of_sites_become_draws_of_the_reference_s_parameters(name):
    record = records.load(name)
    potential = potential_of(name, record.data)
    means = {p: m.mean for p, m in record.reference.items()}
    draws = {k: v.expand(2, 3, *v.shape) for k, v in sites_at(means, name).items()}
    assert draws.keys() == potential.shapes.keys()
    parameters = POSTERIORS[name].parameters(draws, record.reference)
    assert list(parameters) == list(record.reference)
    for parameter, value in parameters.items():
        torch.testing.assert_close(value, torch.full((2, 3), means[parameter]))


@pytest.mark.skipif(not records.is_there(), reason=f"there is no {records.FOLDER}; set POSTERITY_DATA")
def test_the_small_posteriors_are_those_of_the_folder():
    for name in records.small_names():
        assert records.load(name) == records.load_file(name)


@pytest.mark.skipif(not records.is_there(), reason=f"there is no {records.FOLDER}; set POSTERITY_DATA")
def test_every_posterior_of_the_folder_has_a_program():
    assert {path.name.split(".")[0] for path in records.FOLDER.glob("*.json*")} == set(POSTERIORS)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9])
def test_decaying_sums_are_those_of_the_recursion(length):
    x, decay = torch.rand(length), torch.tensor(0.9)
    sums = [x[0]]
    for entry in x[1:]:
        sums.append(entry + decay * sums[-1])
    torch.testing.assert_close(decaying_sums(x, decay), torch.stack(sums))


def test_populations_are_those_of_small_steps():
    reference = records.load("hudson_lynx_hare-lotka_volterra").reference
    values = sites_at({p: m.mean for p, m in reference.items()}, "lotka_volterra")
    for _ in range(10):
        # About two posterior standard deviations around the means.
        theta, init = (values[k] * (0.24 * (2 * torch.rand(values[k].shape) - 1)).exp() for k in ("theta", "z_init"))
        expected = np.log(by_hand.populations(theta.numpy(), init.numpy(), np.arange(1.0, 21.0)))
        # Each of the forty log densities of observations changes by less than 40 times the error.
        np.testing.assert_allclose(log_populations(theta, init.log(), 20).numpy(), expected, rtol=0, atol=1e-6)


def test_the_derivatives_of_populations_are_those_of_the_path():
    start = torch.tensor([0.55, 0.8, 0.0, -1.8], requires_grad=True)
    # Differences over steps of 1e-6 err by their rounding, 1e-16 / 1e-6, and by the square of the step.
    assert torch.autograd.gradcheck(lambda x: scaled_path(x, 20)[0], (start,), atol=1e-6, rtol=1e-6)
    points = start.detach() + 0.1 * torch.rand(3, 4)
    together = torch.vmap(lambda x: scaled_path(x, 20)[0])(points)
    torch.testing.assert_close(together, torch.stack([scaled_path(x, 20)[0] for x in points]))


def test_populations_that_are_lost_are_far_from_any_data_and_no_nan():
    lost = log_populations(torch.tensor([7.0, 7.0, 0.2, 7.0]), torch.tensor([2.0, 2.0]), 20)
    assert not lost.isnan().any()
    assert (lost.abs() > 100).any()


def test_a_posterior_that_is_nowhere_is_named():
    with pytest.raises(FileNotFoundError, match=r"no nowhere\.json.*POSTERITY_DATA"):
        records.load("nowhere")
