import pytest

from posterity.infer.stochastic_gradient import constant, cyclical_cosine, polynomial_decay


def test_a_cycle_falls_from_the_peak_and_begins_anew():
    schedule = cyclical_cosine(0.2, 10)
    sizes = [schedule(t) for t in range(10)]
    assert sizes[0] == 0.2
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > 0
    assert [schedule(t) for t in range(10, 20)] == sizes


def test_polynomial_decay_is_the_formula():
    assert polynomial_decay(2.0, b=3.0, gamma=1.0)(5) == 0.25
    assert constant(0.3)(10**6) == 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: polynomial_decay(0.0), "a must be positive, not 0.0"),
        (lambda: polynomial_decay(1.0, b=-1.0), "b must be positive"),
        (lambda: polynomial_decay(1.0, gamma=1.5), "gamma must lie between 0 and 1"),
        (lambda: cyclical_cosine(-1.0, 3), "step_size must be positive"),
        (lambda: cyclical_cosine(1.0, 0), "cycle_length must be a whole number of at least 1"),
    ],
)
def test_numbers_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
