"""Native weights: the numbers of the same keys, the formulas of torch in every mode, and torch without a compiler."""

import multiprocessing
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from posterity.kernels import Key, KeyStream, bits, normal, normal_weights
from posterity.kernels.normal_weights import WORTHWHILE, divergence, is_available, noise, softplus, suits, weights
from tests.statistical import FALSE_ALARM, assert_uncorrelated, quantile

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not is_available(), reason="no C++ compiler")

# Numbers from a key are within 7e-7 of the cosine and the sine, times a radius of 6.6; twice, for both sides.
ROUNDING = 1e-5


def drawn(size, source):
    return noise((size,), source=source, dtype=torch.float32, device=CPU)


def pair(size=WORTHWHILE + 1, rho=-3.0, spread=3.0):
    loc = torch.randn(size, generator=torch.Generator().manual_seed(1))
    other = torch.randn(size, generator=torch.Generator().manual_seed(2))
    return loc.requires_grad_(), (rho + spread * other).requires_grad_()


def kl(loc, rho, prior_loc, prior_scale):
    q = torch.distributions.Normal(loc, F.softplus(rho))
    p = torch.distributions.Normal(torch.zeros_like(loc) if prior_loc is None else prior_loc, prior_scale)
    return torch.distributions.kl_divergence(q, p).sum()


@pytest.fixture
def without_compiler(monkeypatch):
    monkeypatch.setattr(normal_weights, "_functions", lambda: None)


@needs_compiler
class TestNumbers:
    @pytest.mark.parametrize("size", [1, 511, 512, 513, 40_000])
    @pytest.mark.parametrize("key", [Key(0), Key(-1).at(2**31 - 1), Key(1 << 63).fold_in(3)])
    def test_words_are_those_of_threefry_bit_for_bit(self, size, key):
        first, second = torch.empty(2, size, dtype=torch.int32)
        functions = normal_weights._native()
        functions.fill_words(first.data_ptr(), second.data_ptr(), size, key.data.data_ptr(), key.stream)
        assert all(map(torch.equal, (first, second), bits(size, key)))

    @pytest.mark.parametrize("size", [WORTHWHILE, WORTHWHILE + 1, WORTHWHILE + 513, 3 * WORTHWHILE + 1022])
    def test_normal_numbers_are_the_keys_up_to_rounding(self, size):
        key = Key(5).at(2)
        torch.testing.assert_close(drawn(size, key), normal((size,), source=key), rtol=0, atol=ROUNDING)

    def test_normal_numbers_are_normal_far_into_the_tails(self):
        x = drawn(4_000_001, Key(8))
        assert stats.kstest(x[:400_000].numpy(), stats.norm.cdf).pvalue > FALSE_ALARM
        for z in (3.0, 4.0, 4.5):
            for tail in (x > z, x < -z):
                assert stats.binomtest(int(tail.sum()), len(x), stats.norm.sf(z)).pvalue > FALSE_ALARM
        assert x.isfinite().all()
        assert x.abs().max() < 6.7
        assert_uncorrelated(x[:2_000_000].double(), x[-2_000_000:].double())
        assert_uncorrelated(x[:-1].double(), x[1:].double())

    def test_the_generator_decides_and_the_global_stream_stays(self):
        before = torch.get_rng_state()
        first, again, other = (drawn(WORTHWHILE, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert_uncorrelated(first, other)
        assert torch.equal(torch.get_rng_state(), before)

    def test_without_a_source_the_global_stream_decides(self):
        torch.manual_seed(3)
        first, second = drawn(WORTHWHILE, None), drawn(WORTHWHILE, None)
        torch.manual_seed(3)
        assert torch.equal(drawn(WORTHWHILE, None), first)
        assert_uncorrelated(first, second)

    def test_threads_do_not_matter(self):
        loc, rho = pair(100_001)
        before, results = torch.get_num_threads(), []
        try:
            for threads in (1, 3):
                torch.set_num_threads(threads)
                results.append(
                    [drawn(100_001, Key(1)), weights(loc, rho, Key(2)), divergence(loc, rho, None, torch.ones(()))]
                )
        finally:
            torch.set_num_threads(before)
        assert all(map(torch.equal, *results))


@needs_compiler
class TestFormulas:
    @pytest.mark.parametrize("with_loc", [True, False])
    def test_weights_and_their_derivatives(self, with_loc):
        loc, rho = pair()
        value = weights(loc if with_loc else None, rho, Key(4))
        expected = loc * with_loc + F.softplus(rho) * drawn(len(rho), Key(4))
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
        upstream = torch.randn_like(rho)
        got, wanted = (torch.autograd.grad(v, [loc, rho], upstream, allow_unused=True) for v in (value, expected))
        torch.testing.assert_close(got[1], wanted[1], rtol=1e-5, atol=1e-6)
        assert torch.equal(got[0], upstream) if with_loc else got[0] is None

    def test_softplus_and_its_derivative_have_their_digits_everywhere(self):
        rho = torch.linspace(-86, 86, WORTHWHILE + 7).requires_grad_()
        value, exact = softplus(rho), F.softplus(rho.detach().double())
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
        (slope,) = torch.autograd.grad(value.sum(), rho)
        torch.testing.assert_close(slope.double(), torch.sigmoid(rho.detach().double()), rtol=1e-6, atol=0)

    @pytest.mark.parametrize("prior", ["zero", "shifted"])
    def test_the_divergence_and_its_derivatives_are_those_of_the_closed_form(self, prior):
        loc, rho = pair(50_003)
        prior_loc = None if prior == "zero" else torch.linspace(-1, 1, len(loc))
        scale = torch.tensor(0.4)
        value = divergence(loc, rho, prior_loc, scale)
        exact_loc, exact_rho = (t.detach().double().requires_grad_() for t in (loc, rho))
        exact = kl(exact_loc, exact_rho, None if prior_loc is None else prior_loc.double(), scale.double())
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
        got = torch.autograd.grad(3 * value, [loc, rho])
        wanted = torch.autograd.grad(3 * exact, [exact_loc, exact_rho])
        for g, w in zip(got, wanted, strict=True):
            # The derivative by rho is a difference of terms as large as one and more.
            torch.testing.assert_close(g.double(), w, rtol=1e-5, atol=1e-5)

    def test_a_scale_of_next_to_nothing_has_its_logarithm(self):
        loc, rho = torch.zeros(WORTHWHILE), torch.full((WORTHWHILE,), -1000.0)
        expected = WORTHWHILE * (1000 - 0.5)
        assert divergence(loc, rho, None, torch.ones(())).item() == pytest.approx(expected, rel=1e-6)
        assert torch.equal(weights(torch.ones(WORTHWHILE), rho, None), torch.ones(WORTHWHILE))

    def test_nan_is_seen(self):
        loc, rho = (t.detach().clone() for t in pair())
        rho[7] = torch.nan
        assert softplus(rho)[7].isnan()
        assert weights(loc, rho, None)[7].isnan()
        assert divergence(loc, rho, None, torch.ones(())).isnan()
        assert softplus(rho)[8:].isfinite().all()

    def test_second_derivatives(self):
        # Of functions of all elements alike, by a direction: sums over all have derivatives of one size.
        loc, rho = pair(rho=-1.0, spread=1.0)
        scale = torch.tensor(0.7)

        def hessian_times_ones(f):
            first = torch.autograd.grad(f(), [loc, rho], create_graph=True)
            return torch.autograd.grad(sum(g.sum() for g in first), [loc, rho])

        n = drawn(len(rho), Key(6))
        pairs = [
            (lambda: weights(loc, rho, Key(6)).square().sum(), lambda: (loc + F.softplus(rho) * n).square().sum()),
            (lambda: (softplus(rho) * loc).square().sum(), lambda: (F.softplus(rho) * loc).square().sum()),
            (lambda: divergence(loc, rho, None, scale), lambda: kl(loc, rho, None, scale)),
        ]
        for ours, torchs in pairs:
            for got, wanted in zip(hessian_times_ones(ours), hessian_times_ones(torchs), strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@needs_compiler
class TestGraphs:
    def loss(self, loc, rho):
        source = KeyStream()
        noisy = noise(loc.shape, source=source, dtype=loc.dtype, device=loc.device)
        parts = weights(loc, rho, Key(3)) * softplus(rho)
        return (parts + 0 * noisy).sum() + divergence(loc, rho, None, loc.new_tensor(0.3))

    @pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
    def test_compiled_without_a_break_they_give_the_same(self, backend):
        loc, rho = pair()
        compiled = torch.compile(self.loss, fullgraph=True, backend=backend)
        value, eager = compiled(loc, rho), self.loss(loc, rho)
        torch.testing.assert_close(value, eager, rtol=1e-5, atol=0)
        for got, wanted in zip(*(torch.autograd.grad(v, [loc, rho]) for v in (value, eager)), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)

    def test_a_compiled_function_draws_anew_and_follows_the_seed(self):
        draw = torch.compile(lambda: drawn(WORTHWHILE, KeyStream()), fullgraph=True, backend="aot_eager")
        torch.manual_seed(0)
        first, second = draw(), draw()
        torch.manual_seed(0)
        assert torch.equal(draw(), first)
        assert_uncorrelated(first, second)

    def test_compiled_under_vmap(self):
        loc, rho = (t.detach() for t in pair())
        data = torch.stack([k.data for k in Key(2).split(3)])

        def all_of_it(data):
            return torch.vmap(lambda d: weights(loc, rho, Key(d)) + drawn(len(loc), Key(d)))(data)

        together = torch.compile(all_of_it, fullgraph=True, backend="aot_eager")(data)
        alone = [weights(loc, rho, Key(d)) + drawn(len(loc), Key(d)) for d in data]
        torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=0)

    @pytest.mark.parametrize("name", ["normal", "normal_weights", "softplus", "normal_divergence"])
    def test_operators_are_what_torch_expects_of_operators(self, name):
        loc, rho = pair()
        key = Key(0).data
        arguments = {
            "normal": (key, 0, [WORTHWHILE]),
            "normal_weights": (loc, rho, key, 0, True),
            "softplus": (rho, True),
            "normal_divergence": (loc, rho, None, torch.tensor(0.5)),
        }
        checks = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(getattr(torch.ops.posterity, name).default, arguments[name], test_utils=checks)


class TestWhatSuits:
    @needs_compiler
    def test_it_goes_by_size_type_and_place(self):
        large = torch.zeros(WORTHWHILE)
        assert suits(large, torch.nn.Parameter(large))
        assert not suits(large[:-1])
        assert not suits(large.double())
        assert not suits(large.to("meta"))
        assert not suits(large, large.view(2, -1))
        assert not suits(torch.zeros(2, WORTHWHILE).T)

    @needs_compiler
    def test_transformations_and_modes_take_torchs_way(self):
        large = torch.zeros(3, WORTHWHILE)
        seen = []
        torch.vmap(lambda x: seen.append(suits(x)) or x)(large)
        torch.func.grad(lambda x: seen.append(suits(large)) or x.sum())(large)
        with torch._subclasses.FakeTensorMode():
            seen.append(suits(torch.zeros(WORTHWHILE)))
            seen.append(type(drawn(WORTHWHILE, None)) is torch.Tensor)
        with torch.autograd.forward_ad.dual_level():
            seen.append(suits(large))
        assert seen == [False] * 5

    def test_without_a_compiler_noise_is_torchs(self, without_compiler):
        assert not suits(torch.zeros(WORTHWHILE))
        first = drawn(WORTHWHILE, torch.Generator().manual_seed(0))
        assert torch.equal(first, torch.randn(WORTHWHILE, generator=torch.Generator().manual_seed(0)))

    def test_a_small_draw_is_torchs(self):
        first = drawn(100, torch.Generator().manual_seed(0))
        assert torch.equal(first, torch.randn(100, generator=torch.Generator().manual_seed(0)))

    @pytest.mark.parametrize("error", [RuntimeError, OSError])
    def test_a_compiler_that_fails_is_none(self, monkeypatch, error):
        def refuse(*arguments):
            raise error

        monkeypatch.setattr("posterity.kernels.native.library.library", refuse)
        assert normal_weights._functions.__wrapped__() is None


@needs_compiler
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
def test_a_forked_process_draws_the_same():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as torch asks of forked processes
    try:
        here = drawn(WORTHWHILE, Key(9)).double().sum().item()
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=lambda: sender.send(drawn(WORTHWHILE, Key(9)).double().sum().item()))
        child.start()
        assert receiver.poll(60)
        assert receiver.recv() == here
        child.join()
    finally:
        torch.set_num_threads(before)


@needs_compiler
def test_weights_match_their_posterior_in_mean_and_variance():
    rho = torch.full((WORTHWHILE,), -1.0)
    draws = torch.stack([weights(torch.full_like(rho, 2.0), rho, None) for _ in range(20)]).double()
    scale, count = F.softplus(torch.tensor(-1.0)).item(), draws.numel()
    assert abs(draws.mean() - 2) < quantile() * scale / count**0.5
    assert abs(draws.var() / scale**2 - 1) < quantile() * (2 / count) ** 0.5


def test_importing_it_does_not_import_the_compiler():
    code = "import sys, posterity.nn; sys.exit('torch._dynamo' in sys.modules or 'torch._inductor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
