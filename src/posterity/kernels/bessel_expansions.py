"""Coefficients of the expansions of modified Bessel functions that are uniform in order / x.

With $s^2 = order^2 + x^2$ and $q = order^2 / s^2$, each expansion is a sum over n >= 1 of polynomials in q times
$s^{-n}$. A list holds the polynomials of n = 1, 2, ..., each from the constant coefficient up.
"""

import functools
from fractions import Fraction

Polynomial = list[Fraction]
Expansion = list[list[float]]


@functools.cache
def uniform_expansion(num_terms: int) -> Expansion:
    r"""The sum in $I_{order}(x) \sim e^{order \eta} / \sqrt{2 \pi s} (1 + \sum U_n(p) / order^n)$, DLMF 10.41.9.

    Example:
        >>> uniform_expansion(1)
        [[0.125, -0.20833333333333334]]
    """
    # U_n(p) = p^n u_n(p^2), and p / order = 1 / s.
    polynomial, expansion = [Fraction(1)], []
    for n in range(num_terms):
        powers = [n + 2 * j for j in range(len(polynomial))]
        following = [Fraction(0)] * (len(polynomial) + 1)
        for j, (power, coefficient) in enumerate(zip(powers, polynomial, strict=True)):
            following[j] += coefficient * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            following[j + 1] -= coefficient * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
        polynomial = following
        expansion.append(_floats(polynomial))
    return expansion


@functools.cache
def logarithmic_expansion(num_terms: int) -> Expansion:
    r"""The sum in $x I'/I \sim s (1 + \sum c_n(q) s^{-n})$.

    With $y = x I'/I$ Bessel's equation is $x y' + y^2 = s^2$, whose orders in s give the polynomials in turn.

    Example:
        >>> logarithmic_expansion(1)
        [[-0.5, 0.5]]
    """
    return [_floats(c) for c in _logarithmic(num_terms)]


@functools.cache
def ratio_expansions(num_terms: int) -> tuple[Expansion, Expansion, Expansion]:
    r"""The sums in $I_{order+1}/I_{order} = x / (s + order) - x / s \sum d_n(q) s^{-n}$ and its two derivatives.

    The first derivative has $-s^{-1} \sum e_n(q) s^{-n}$, the second $-x s^{-3} \sum k_n(q) s^{-n}$.

    Example:
        >>> [expansion[0] for expansion in ratio_expansions(1)]
        [[0.5], [-0.5, 1.0], [1.0, -4.0]]
    """
    values, slopes, curvatures = [], [], []
    for n, c in enumerate(_logarithmic(num_terms), 1):
        d = _divided([-a for a in c])
        e = _sum(d, _times_one_minus_q(_differentiated(d, -1 - n)))
        values.append(_floats(d))
        slopes.append(_floats(e))
        curvatures.append(_floats(_differentiated(e, -1 - n)))
    return values, slopes, curvatures


@functools.cache
def _logarithmic(num_terms: int) -> list[Polynomial]:
    terms = [[Fraction(1)]]
    for n in range(1, num_terms + 1):
        total = _times_one_minus_q(_differentiated(terms[-1], 2 - n))
        for i in range(1, n):
            total = _sum(total, _product(terms[i], terms[n - i]))
        terms.append([-a / 2 for a in total])
    return terms[1:]


def _differentiated(polynomial: Polynomial, m: int) -> Polynomial:
    """For a term c(q) s^m, the polynomial of (m c - 2 q c'): x d/dx gives s^m (1 - q) times it."""
    return [(m - 2 * j) * a for j, a in enumerate(polynomial)]


def _times_one_minus_q(polynomial: Polynomial) -> Polynomial:
    return _sum(polynomial, [Fraction(0), *(-a for a in polynomial)])


def _divided(polynomial: Polynomial) -> Polynomial:
    """The exact quotient by 1 - q."""
    quotient, running = [], Fraction(0)
    for a in polynomial[:-1]:
        running += a
        quotient.append(running)
    return quotient


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    size = max(len(a), len(b))
    return [(a[i] if i < len(a) else Fraction(0)) + (b[i] if i < len(b) else Fraction(0)) for i in range(size)]


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    result = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            result[i + j] += left * right
    return result


def _floats(polynomial: Polynomial) -> list[float]:
    return [float(a) for a in polynomial]
