"""What all samplers have in common: modes of execution, devices, dtypes, sources, refusals."""

import pytest
import torch

from posterity.kernels import Key, KeyStream, samplers
from tests.kernels.samplers.checks import assert_new_under_vmap, assert_nothing_on_the_cpu, assert_same_in_every_mode


def versine(concentration, sample_shape, source=None):
    return samplers.von_mises_fisher_versine(concentration, 3, sample_shape, source=source)


def exponential(rate, sample_shape, source=None):
    return samplers.exponential((*sample_shape, *rate.shape), source=source, like=rate) / rate


def gumbel(scale, sample_shape, source=None):
    return samplers.gumbel((*sample_shape, *scale.shape), source=source, like=scale) * scale


POSITIVE = torch.tensor([0.3, 2.0, 40.0])
CASES = {
    "exponential": (exponential, (POSITIVE,)),
    "gumbel": (gumbel, (POSITIVE,)),
    "standard_gamma": (samplers.standard_gamma, (POSITIVE,)),
    "log_standard_gamma": (samplers.log_standard_gamma, (torch.tensor([1e-4, 0.3, 7.0]),)),
    "beta": (samplers.beta, (POSITIVE, POSITIVE.flip(0))),
    "dirichlet": (samplers.dirichlet, (POSITIVE[:, None] * torch.tensor([1.0, 2.0]),)),
    "poisson": (samplers.poisson, (torch.tensor([0.5, 12.0, 1e6]),)),
    "binomial": (samplers.binomial, (torch.tensor([3.0, 40.0, 1e6]), torch.tensor([0.9, 0.5, 0.01]))),
    "multinomial": (samplers.multinomial, (torch.tensor([5.0, 100.0]), torch.tensor([[1.0, 2], [3, 1]]))),
    "categorical": (samplers.categorical, (torch.tensor([[1.0, 2, 3], [3, 0, 1]]),)),
    "von_mises": (samplers.von_mises, (torch.tensor([0.0, 2.0, 1e4]),)),
    "von_mises_fisher_versine": (versine, (torch.tensor([0.0, 2.0, 1e4]),)),
    "inverse_gaussian": (samplers.inverse_gaussian, (POSITIVE, POSITIVE.flip(0))),
    "truncated_normal": (
        samplers.truncated_normal,
        (torch.tensor([-torch.inf, -1.0, 6.0]), torch.tensor([0.0, 2.0, torch.inf])),
    ),
    "zipf": (samplers.zipf, (torch.tensor([1.5, 3.0]),)),
}
ALL = pytest.mark.parametrize(("sampler", "parameters"), CASES.values(), ids=CASES.keys())


@ALL
def test_a_key_gives_the_same_draws_in_every_mode(sampler, parameters):
    assert_same_in_every_mode(sampler, parameters)


@ALL
def test_without_a_key_draws_are_new_under_vmap(sampler, parameters):
    assert_new_under_vmap(sampler, parameters)


@ALL
def test_on_meta_nothing_is_made_elsewhere(sampler, parameters):
    assert_nothing_on_the_cpu(sampler, parameters)


@ALL
@pytest.mark.parametrize("make", [Key, lambda seed: torch.Generator().manual_seed(seed)], ids=["key", "generator"])
def test_the_source_decides_and_the_global_stream_stays(sampler, parameters, make):
    before = torch.get_rng_state()
    first, again, other = (sampler(*parameters, (64,), source=make(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@ALL
def test_the_global_stream_is_the_default(sampler, parameters):
    torch.manual_seed(1)
    first, other = (sampler(*parameters, (64,), source=None) for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(first, sampler(*parameters, (64,), source=None))
    assert not torch.equal(first, other)


@ALL
def test_a_key_stream_gives_new_draws_each_time(sampler, parameters):
    stream = KeyStream()
    assert not torch.equal(*(sampler(*parameters, (64,), source=stream) for _ in range(2)))


@ALL
@pytest.mark.parametrize("source", [None, Key(3)], ids=["global", "key"])
def test_dtypes_and_shapes(sampler, parameters, source):
    kept = CASES["categorical"][0] is not sampler
    for dtype, drawn in ((torch.float32, torch.float32), (torch.float64, torch.float64), (torch.half, torch.float32)):
        draws = sampler(*(p.clamp(max=6e4).to(dtype) for p in parameters), (2, 0), source=source)
        assert draws.dtype == (drawn if kept else torch.int64)
        assert draws.shape[:3] == (2, 0, len(parameters[0]))
        assert sampler(*(p[0] for p in parameters), (), source=source).shape == draws.shape[3:]


@ALL
def test_streams_and_elements_of_a_key_differ(sampler, parameters):
    key = Key(8)
    draws = torch.stack([sampler(*parameters, (200,), source=k) for k in (key, key.at(1), *key.split(2))])
    rows = draws.reshape(4, -1)
    assert len(rows.unique(dim=0)) == 4
    halves = draws.reshape(4, 2, -1)
    assert not torch.equal(halves[:, 0], halves[:, 1])


@pytest.mark.parametrize("name", sorted(set(CASES) - {"multinomial", "exponential", "gumbel"}))
def test_a_batch_of_keys_gives_each_its_own_draws(name):
    sampler, parameters = CASES[name]
    together = sampler(*parameters, (4,), source=Key(2).fold_in(torch.arange(3)))
    each = [sampler(*parameters, (4,), source=Key(2).fold_in(i)) for i in range(3)]
    torch.testing.assert_close(together, torch.stack(each), rtol=1e-5, atol=0)


@pytest.mark.slow
def test_a_graph_of_inductor_draws_the_same():
    key, a = Key(6), torch.tensor([1.5, 3.0])

    def draw(data):
        return samplers.zipf(a, (500,), source=Key(data))

    compiled = torch.compile(draw, fullgraph=True)(key.data)
    # Fused arithmetic may decide a comparison otherwise, about once in 1 / eps draws.
    same = torch.isclose(compiled, draw(key.data), rtol=1e-4, atol=1e-30)
    assert same.float().mean() > 0.99


@pytest.mark.parametrize("sampler", [samplers.standard_gamma, samplers.poisson, samplers.von_mises, samplers.zipf])
def test_a_parameter_that_is_no_tensor_is_refused(sampler):
    with pytest.raises(TypeError, match=f"{sampler.__name__} takes real tensors, and numbers beside them, but got"):
        sampler(2.0)
    with pytest.raises(TypeError, match="complex64"):
        sampler(torch.ones(2, dtype=torch.complex64))


@pytest.mark.parametrize(
    "sampler", [samplers.beta, samplers.binomial, samplers.inverse_gaussian, samplers.truncated_normal]
)
def test_shapes_that_do_not_broadcast_are_refused(sampler):
    with pytest.raises(ValueError, match=rf"{sampler.__name__}: the parameters' shapes .* \[2\], .* \[3\]"):
        sampler(torch.ones(2), torch.ones(3))


@pytest.mark.parametrize("name", ["dirichlet", "categorical"])
def test_a_law_over_categories_needs_their_dimension(name):
    with pytest.raises(ValueError, match=f"{name}: .* needs a last dimension"):
        getattr(samplers, name)(torch.tensor(1.0))
    with pytest.raises(ValueError, match="multinomial: probs needs a last dimension"):
        samplers.multinomial(3, torch.tensor(1.0))


def test_a_batch_of_keys_is_refused_where_it_cannot_be_split():
    with pytest.raises(ValueError, match=r"multinomial: source is a batch of keys; .* torch\.vmap"):
        samplers.multinomial(3, torch.ones(2), source=Key(torch.zeros(4, 2, dtype=torch.int32)))


def test_a_sphere_needs_two_dimensions():
    with pytest.raises(ValueError, match="dimension must be at least 2, got 1"):
        samplers.von_mises_fisher_versine(torch.ones(2), 1)
