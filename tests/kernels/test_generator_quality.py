"""The counter-based generator's words: uniform in every bit and block, without serial or cross-stream dependence."""

import itertools
import math
import shutil
import subprocess

import numpy as np
import pytest
import torch
from scipy import stats

from posterity.kernels import Key, bits
from tests.statistical import FALSE_ALARM, quantile


def words(key: Key, size: int = 1 << 15) -> np.ndarray:
    """The first words of a key, interleaved, as uint32."""
    return torch.stack(bits(size // 2, key), -1).flatten().numpy().view(np.uint32)


def as_bits(x: np.ndarray) -> np.ndarray:
    return np.unpackbits(x.view(np.uint8)).reshape(len(x), 32)


# Families of keys whose members differ as little as possible.
FAMILIES = {
    "one": lambda n: [Key(77 + 1000 * i) for i in range(n)],
    "adjacent seeds": lambda n: [Key(i) for i in range(n)],
    "seeds that differ in one high bit": lambda n: [Key(1 << i) for i in range(n)],
    "streams": lambda n: [Key(3).at(i) for i in range(n)],
    "folded": lambda n: [Key(3).fold_in(i) for i in range(n)],
    "split": lambda n: Key(3).split(n),
    "nested": lambda n: list(itertools.accumulate(range(n - 1), lambda key, _: key.fold_in(0), initial=Key(3))),
    "folded at streams": lambda n: [Key(3).at(i).fold_in(1) for i in range(n)],
}
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


@pytest.mark.parametrize("bits_of_cell", [8, 12])
@pytest.mark.parametrize("shift", [0, 10, 20])
def test_parts_of_words_are_equidistributed(bits_of_cell, shift):
    x = words(Key(1), 1 << 21)
    counts = np.bincount((x >> np.uint32(shift)) & np.uint32(2**bits_of_cell - 1), minlength=2**bits_of_cell)
    assert stats.chisquare(counts).pvalue > FALSE_ALARM
    # Too even would be as wrong as too uneven.
    assert stats.chisquare(counts).pvalue < 1 - FALSE_ALARM


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_successive_words_fill_their_cube(dimension):
    x = words(Key(2), 3 << 19) >> np.uint32(32 - 12 // dimension)
    x = x[: len(x) // dimension * dimension].reshape(-1, dimension).astype(np.int64)
    cell = x @ (1 << (12 // dimension)) ** np.arange(dimension)
    counts = np.bincount(cell, minlength=2**12)
    assert FALSE_ALARM < stats.chisquare(counts).pvalue < 1 - FALSE_ALARM


@EVERY_FAMILY
def test_every_bit_is_a_fair_coin(family):
    each = np.stack([as_bits(words(key)).mean(0) for key in family(8)])
    assert (np.abs(each - 0.5) < quantile(each.size) * 0.5 / (1 << 15) ** 0.5).all()


def test_words_have_no_serial_correlation():
    # Circular autocorrelations at all lags at once, each of variance 1 / n.
    x = words(Key(4), 1 << 18) / 2.0**32 - 0.5
    spectrum = np.abs(np.fft.rfft(x)) ** 2
    correlation = np.fft.irfft(spectrum)[1 : len(x) // 2] / (x @ x)
    assert np.abs(correlation).max() < quantile(len(correlation)) / len(x) ** 0.5


def test_bits_of_neighbouring_words_are_independent():
    x = as_bits(words(Key(5), 1 << 18)).astype(np.float32) * 2 - 1
    for lag in (1, 2, 3, 8, 64):
        correlation = x[:-lag].T @ x[lag:] / (len(x) - lag)
        assert np.abs(correlation).max() < quantile(32 * 32 * 5) / (len(x) - lag) ** 0.5


@EVERY_FAMILY
def test_keys_that_differ_little_have_independent_words(family):
    x = np.stack([words(key) / 2.0**32 - 0.5 for key in family(24)]) * math.sqrt(12)
    for shift in (0, 1, 2):
        correlation = x @ np.roll(x, shift, axis=1).T / x.shape[1]
        apart = correlation[~np.eye(len(x), dtype=bool)]
        assert np.abs(apart).max() < quantile(3 * apart.size) / x.shape[1] ** 0.5


@EVERY_FAMILY
def test_keys_that_differ_little_differ_in_half_of_their_bits(family):
    x = [as_bits(words(key, 1 << 13)) for key in family(12)]
    pairs = list(itertools.combinations(x, 2))
    share = np.stack([(a != b).mean(0) for a, b in pairs])
    assert (np.abs(share - 0.5) < quantile(share.size) * 0.5 / (1 << 13) ** 0.5).all()


def test_words_of_many_keys_at_one_counter_are_equidistributed():
    # The same place across keys is what a batch of chains sees.
    chains = Key(6).fold_in(torch.arange(1 << 18))
    first = torch.cat(bits(1, chains), -1).flatten().numpy().view(np.uint32)
    for shift in (0, 12, 24):
        counts = np.bincount((first >> np.uint32(shift)) & np.uint32(255), minlength=256)
        assert FALSE_ALARM < stats.chisquare(counts).pvalue < 1 - FALSE_ALARM


def test_derived_keys_have_as_many_collisions_as_chance_makes():
    # Of 2^16 words of 32 bits, 0.5 pairs are equal on average; ten or more have probability 1.7e-10.
    numbers = Key(7).fold_in(torch.arange(1 << 16)).data
    assert (1 << 16) - len(numbers[:, 0].unique()) < 10
    assert (1 << 16) - len(numbers[:, 1].unique()) < 10


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_dieharder():
    """Marsaglia's and the STS tests on 1e8 to 1e10 bits each; the battery calls a p-value below 1e-6 a failure."""
    program = shutil.which("dieharder")
    if program is None:
        pytest.skip("the battery `dieharder` is not installed (Debian: apt-get install dieharder)")
    failures = []
    for number in (0, 1, 2, 4, 8, 10, 11, 15, 16, 17, 100, 101, 102, 200, 202, 204, 205, 209):
        # Only the test of bits has no length of words of its own.
        length = ["-n", "8"] if number == 200 else []
        with subprocess.Popen(
            [program, "-g", "200", "-d", str(number), *length], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as run:
            assert run.stdin is not None
            assert run.stdout is not None
            try:
                for stream in itertools.count():
                    for block in range(0, 1 << 24, 1 << 16):
                        numbers = torch.stack(bits(1 << 16, Key(number).at(stream), block), -1)
                        run.stdin.write(numbers.numpy().tobytes())
            except BrokenPipeError:
                pass
            report = run.stdout.read().decode()
        assert "PASSED" in report or "WEAK" in report or "FAILED" in report, f"test {number} gave no verdict"
        failures += [line for line in report.splitlines() if "FAILED" in line]
    assert not failures
