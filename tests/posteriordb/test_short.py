"""NUTS on the small posteriors of posteriordb agrees with the reference draws, and says so where it cannot."""

import warnings

import pytest

from posterity.infer import MCMC, NUTS
from posterity.infer.capture import can_compile
from tests.posteriordb import records
from tests.posteriordb.catalogue import POSTERIORS
from tests.posteriordb.comparison import compare
from tests.statistical import quantile

# A hierarchy's effects around its mean, whose spread may be near nothing: a funnel, whose neck NUTS does not enter.
FUNNEL = "eight_schools-eight_schools_centered"
NAMES = [name for name in records.small_names() if name != FUNNEL]
# A recursion of logarithms over a hundred steps takes the compiler a minute, an integrator each leapfrog a millisecond.
SLOW = ("hmm_example-hmm_example", "hudson_lynx_hare-lotka_volterra")
# Means and spreads of all parameters of all of them are right together but for one seed in a million.
COMPARISONS = 2 * sum(len(records.load(name).reference) for name in NAMES)

pytestmark = pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler, and uncompiled NUTS takes minutes")


def drawn(name):
    """Four short chains, and the draws of the reference's parameters."""
    record, posterior = records.load(name), POSTERIORS[name]
    mcmc = MCMC(NUTS(posterior.program), 300, 300, 4, seed=0, progress=False)
    mcmc.run(*posterior.arguments(record.data))
    draws = posterior.parameters(mcmc.get_samples(group_by_chain=True), record.reference)
    return mcmc, compare(draws, record.reference)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NAMES])
def test_means_and_spreads_are_those_of_the_reference(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few draws are not always enough
        _, found = drawn(name)
    assert (found.z < quantile(COMPARISONS)).all()
    assert (found.sd_z < quantile(COMPARISONS)).all()
    # Otherwise nothing above could fail.
    assert (found.ess > 50).all()


def test_a_funnel_is_told_by_its_divergences():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mcmc, _ = drawn(FUNNEL)
    assert mcmc.get_extra_fields()["is_divergent"].any()
    assert any("diverge" in str(warning.message) for warning in caught)
