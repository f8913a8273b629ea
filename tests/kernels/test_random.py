"""Numbers from keys: their distribution, their independence, and that a key is a value."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from posterity.kernels import Key, KeyStream, bits, normal, rademacher, uniform
from tests.statistical import FALSE_ALARM, assert_uncorrelated, quantile

DTYPES = [torch.float32, torch.float64]
SAMPLERS = [normal, uniform, rademacher]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("draw", "law"), [(normal, stats.norm), (uniform, stats.uniform)])
def test_goodness_of_fit(draw, law, dtype):
    x = draw((200_001,), source=Key(7), dtype=dtype)
    assert x.dtype == dtype
    assert stats.kstest(x.double().numpy(), law.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_tails_have_their_share_and_reach(dtype):
    x = normal((2_000_000,), source=Key(3), dtype=dtype).abs()
    for z in (3.0, 4.0, 4.5):
        expected = len(x) * 2 * stats.norm.sf(z)
        p = stats.binomtest(int((x > z).sum()), len(x), expected / len(x)).pvalue
        assert p > FALSE_ALARM
    assert x.isfinite().all()
    assert x.max() < {torch.float32: 6.7, torch.float64: 9.4}[dtype]


def test_normal_numbers_of_one_block_are_independent():
    # Box and Muller's pairs lie half the block apart.
    x = normal((100_000,), source=Key(5)).double()
    assert_uncorrelated(x[:50_000], x[50_000:])
    assert_uncorrelated(x[:50_000].square(), x[50_000:].square())
    assert_uncorrelated(x[:-1], x[1:])


def test_signs_are_fair_and_independent():
    x = rademacher((100_000,), source=Key(9))
    assert set(x.tolist()) == {-1.0, 1.0}
    assert abs(x.sum().item()) < quantile() * len(x) ** 0.5
    assert_uncorrelated(x[:50_000], x[50_000:])


@pytest.mark.parametrize("draw", SAMPLERS)
def test_streams_keys_and_derived_keys_are_independent(draw):
    key = Key(0)
    keys = [key, key.at(1), key.at(2**31 - 1), Key(1), Key(2**32), Key(-1), key.fold_in(0), key.fold_in(1)]
    keys += [key.fold_in(-1), key.fold_in(0).fold_in(0), key.at(1).fold_in(0), *Key(5).split(2)]
    numbers = [draw((20_000,), source=k, dtype=torch.float64) for k in keys]
    for a, b in itertools.combinations(numbers, 2):
        assert_uncorrelated(a, b)


def test_every_word_of_every_key_is_of_its_own():
    key = Key(11)
    blocks = [bits(500, k) for k in (key, key.at(1), key.at(2), key.fold_in(0), *key.split(3)[1:])]
    words = torch.stack([torch.stack(b) for b in blocks]).flatten()
    # The birthday bound: 6,000 words of 32 bits have 0.004 equal pairs, 3 or more once in 1e8.
    assert len(words) - len(words.unique()) <= 2


def test_a_key_folded_at_two_streams_gives_two_keys():
    key = Key(4)
    assert not torch.equal(key.at(1).fold_in(3).data, key.at(2).fold_in(3).data)
    assert not torch.equal(key.at(1).split()[0].data, key.split()[0].data)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", SAMPLERS)
def test_under_vmap_equal_to_unbatched(draw, dtype):
    keys = torch.stack([k.data for k in Key(2).split(4)])
    batched = torch.vmap(lambda data: draw((3, 5), source=Key(data).at(2), dtype=dtype))(keys)
    alone = [draw((3, 5), source=Key(data).at(2), dtype=dtype) for data in keys]
    torch.testing.assert_close(batched, torch.stack(alone), rtol=1e-6, atol=1e-6)


def test_fold_in_under_vmap_equal_to_unbatched():
    batched = torch.vmap(lambda chain: Key(2).fold_in(chain).data)(torch.arange(4))
    assert torch.equal(batched, torch.stack([Key(2).fold_in(i).data for i in range(4)]))


@pytest.mark.parametrize("draw", SAMPLERS)
def test_a_batch_of_keys_gives_each_its_own_numbers(draw):
    chains = Key(2).fold_in(torch.arange(4))
    together = draw((4, 2), source=chains)
    assert together.shape == (4, 4, 2)
    torch.testing.assert_close(together, torch.stack([draw((4, 2), source=Key(2).fold_in(i)) for i in range(4)]))


@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, *DTYPES]),
    draw=st.sampled_from(SAMPLERS),
)
def test_any_shape_and_dtype(shape, dtype, draw):
    x = draw(shape, source=Key(1), dtype=dtype)
    assert x.shape == tuple(shape)
    assert x.dtype == dtype
    assert torch.equal(x, draw(shape, source=Key(1), dtype=dtype))
    assert x.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *DTYPES])
def test_uniform_numbers_from_a_key_reach_neither_end(dtype):
    x = uniform((50_000,), source=Key(0), dtype=dtype)
    assert x.min() > 0
    assert x.max() < 1
    assert abs(x.double().mean() - 0.5) < quantile() * (1 / 12 / len(x)) ** 0.5


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize("make", [Key, lambda seed: torch.Generator().manual_seed(seed)])
def test_the_source_decides_and_the_global_stream_stays(draw, make):
    before = torch.get_rng_state()
    first, again, other = (draw((64,), source=make(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("draw", SAMPLERS)
def test_without_a_source_torchs_global_stream_is_used(draw):
    torch.manual_seed(5)
    first = draw((64,))
    torch.manual_seed(5)
    assert torch.equal(first, draw((64,)))
    assert not torch.equal(first, draw((64,)))


@pytest.mark.parametrize("draw", SAMPLERS)
def test_numbers_are_made_where_they_are_asked_for(draw):
    assert draw((3,), source=Key(0), device="meta").device.type == "meta"
    assert draw((3,), source=Key(0, device="meta")).device.type == "meta"
    stream = KeyStream()
    assert draw((3,), source=stream).device.type == "cpu"
    assert draw((3,), source=stream, device="meta").device.type == "meta"


def test_default_dtype_is_torchs():
    with_default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert {draw((2,), source=Key(0)).dtype for draw in SAMPLERS} == {torch.float64}
    finally:
        torch.set_default_dtype(with_default)


def test_a_seed_is_64_bits():
    assert torch.equal(Key(-1).data, Key(2**64 - 1).data)
    assert Key(2**31).data.tolist() == [0, -(2**31)]
    assert Key(1 << 32).data.tolist() == [1, 0]
    assert "stream=3" in repr(Key(1).at(3))


@pytest.mark.parametrize("seed", [1.5, "a", None, torch.zeros(2), torch.zeros(3, dtype=torch.int32)])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(TypeError, match="Key: .*int32"):
        Key(seed)


def test_a_drawn_key_follows_the_global_stream():
    torch.manual_seed(3)
    first, second = Key.draw(torch.device("cpu")), Key.draw(torch.device("cpu"))
    torch.manual_seed(3)
    assert torch.equal(Key.draw(torch.device("cpu")).data, first.data)
    assert not torch.equal(first.data, second.data)


class TestKeyStream:
    cpu = torch.device("cpu")

    def test_successive_numbers_are_independent(self):
        stream = KeyStream()
        numbers = [normal((20_000,), source=stream) for _ in range(3)]
        numbers += [uniform((20_000,), source=stream), rademacher((20_000,), source=stream)]
        for a, b in itertools.combinations(numbers, 2):
            assert_uncorrelated(a, b)

    @given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), extra=st.integers(1, 5))
    def test_reserved_numbers_are_handed_out_once(self, sizes, extra):
        stream = KeyStream()
        for size in sizes:
            stream.reserve(size, torch.float64, self.cpu)
        parts = [stream.normal((size,), torch.float64, self.cpu) for size in sizes]
        parts.append(stream.normal((extra,), torch.float64, self.cpu))
        numbers = torch.cat(parts)
        assert len(numbers.unique()) == sum(sizes) + extra

    def test_what_was_not_reserved_has_a_stream_of_its_own(self):
        stream = KeyStream()
        stream.reserve(4, torch.float32, self.cpu)
        large, small = stream.normal((5,), torch.float32, self.cpu), stream.normal((2, 2), torch.float32, self.cpu)
        assert len(torch.cat([large, small.flatten()]).unique()) == 9

    def test_dtypes_have_reservations_of_their_own(self):
        stream = KeyStream()
        stream.reserve(3, torch.float32, self.cpu)
        stream.reserve(2, torch.float64, self.cpu)
        assert stream.normal((2,), torch.float64, self.cpu).dtype == torch.float64
        assert stream.normal((3,), torch.float32, self.cpu).dtype == torch.float32

    def test_reserved_numbers_are_standard_normal(self):
        stream = KeyStream()
        for _ in range(100):
            stream.reserve(1001, torch.float32, self.cpu)
        x = torch.cat([stream.normal((7, 143), torch.float32, self.cpu).flatten() for _ in range(100)])
        assert stats.kstest(x.numpy(), stats.norm.cdf).pvalue > FALSE_ALARM
        assert math.isclose(x.std(), 1, abs_tol=quantile() * (0.5 / len(x)) ** 0.5)
