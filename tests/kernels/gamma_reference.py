"""The incomplete gamma functions to 40 digits, by series and continued fraction."""

from functools import cache

import mpmath as mp


@cache
def tails(a, x):
    """P, Q and log density, as mpmath numbers: DLMF 8.11.4 below a + 1, the continued fraction 8.9.2 above."""
    with mp.workdps(45):
        a, x = mp.mpf(a), mp.mpf(x)
        scale = mp.exp(a * mp.log(x) - x - mp.loggamma(a + 1))
        log_density = (a - 1) * mp.log(x) - x - mp.loggamma(a)
        if x < a + 1:
            term = total = mp.mpf(1)
            n = 0
            while term > mp.eps * total:
                n += 1
                term *= x / (a + n)
                total += term
            return scale * total, 1 - scale * total, log_density
        b = x + 1 - a
        c, d = mp.mpf(10) ** 400, 1 / b
        ratio, n, factor = d, 0, mp.mpf(0)
        while abs(factor - 1) > 100 * mp.eps:
            n += 1
            b += 2
            d = 1 / (b - n * (n - a) * d)
            c = b - n * (n - a) / c
            factor = c * d
            ratio *= factor
        return 1 - scale * a * ratio, scale * a * ratio, log_density


@cache
def concentration_derivatives(a, x):
    """dP/da and d2P/da2 by central differences of the smaller tail, the first to 18 digits, the second to 12."""
    with mp.workdps(45):
        a = mp.mpf(a)
        h = a * mp.mpf(10) ** -10
        side, sign = (0, 1) if tails(a, x)[0] < 0.5 else (1, -1)
        up, here, down = (tails(a + k * h, x)[side] for k in (1, 0, -1))
        return sign * (up - down) / (2 * h), sign * (up - 2 * here + down) / h**2
