"""Floor 0: random numbers and special functions that torch lacks."""

from posterity.kernels.bessel import bessel_ratio, bessel_ratio_complement, bessel_ratio_inverse, ive, log_ive
from posterity.kernels.incomplete_beta import betainc, betaincc, log_betainc, log_betaincc
from posterity.kernels.incomplete_gamma import gamma_quantile_slope, gammainc, gammaincc
from posterity.kernels.inverse_incomplete_beta import betainccinv, betaincinv
from posterity.kernels.inverse_incomplete_gamma import gammainccinv, gammaincinv
from posterity.kernels.lambert_w import lambertw
from posterity.kernels.log_incomplete_gamma import log_gammainc, log_gammaincc
from posterity.kernels.logarithms import log1mexp, log_expm1, logsubexp
from posterity.kernels.noise_tape import NoiseLayout, NoiseRecorder, NoiseTape
from posterity.kernels.normal_tails import log_diff_ndtr, log_ndtr, mills_ratio, ndtr, ndtri, ndtri_exp
from posterity.kernels.owens_t import owens_t
from posterity.kernels.random import Generator, Key, KeyStream, Source, bits, normal, rademacher, uniform
from posterity.kernels.skew_normal import skew_normal_cdf, skew_normal_log_cdf
from posterity.kernels.student_t import student_t_cdf, student_t_icdf, student_t_log_cdf
from posterity.kernels.threefry import threefry2x32
from posterity.kernels.von_mises import von_mises_cdf, von_mises_icdf

__all__ = [
    "Generator",
    "Key",
    "KeyStream",
    "NoiseLayout",
    "NoiseRecorder",
    "NoiseTape",
    "Source",
    "bessel_ratio",
    "bessel_ratio_complement",
    "bessel_ratio_inverse",
    "betainc",
    "betaincc",
    "betainccinv",
    "betaincinv",
    "bits",
    "gamma_quantile_slope",
    "gammainc",
    "gammaincc",
    "gammainccinv",
    "gammaincinv",
    "ive",
    "lambertw",
    "log1mexp",
    "log_betainc",
    "log_betaincc",
    "log_diff_ndtr",
    "log_expm1",
    "log_gammainc",
    "log_gammaincc",
    "log_ive",
    "log_ndtr",
    "logsubexp",
    "mills_ratio",
    "ndtr",
    "ndtri",
    "ndtri_exp",
    "normal",
    "owens_t",
    "rademacher",
    "skew_normal_cdf",
    "skew_normal_log_cdf",
    "student_t_cdf",
    "student_t_icdf",
    "student_t_log_cdf",
    "threefry2x32",
    "uniform",
    "von_mises_cdf",
    "von_mises_icdf",
]
