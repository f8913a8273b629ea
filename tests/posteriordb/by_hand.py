"""The posteriors' log densities up to constants, written from their descriptions with numpy and scipy.

Each takes a file's data and the values of the program's sites, as numpy arrays by name.
"""

import numpy as np
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.special import logsumexp


def log_density(name, data, x):
    """Log density of a posterior with respect to the constrained values `x` of its program's sites."""
    data = {key: np.asarray(value, dtype=float) for key, value in data.items()}
    if name.startswith("nes"):
        return normal(data["partyid7"], nes(data, x["beta"]), x["sigma"])
    return DENSITIES[name](data, x)


def normal(x, loc, scale):
    return stats.norm.logpdf(x, loc, scale).sum()


def nes(d, b):
    age = d["age_discrete"]
    return (
        b[0] + b[1] * d["real_ideo"] + b[2] * d["race_adj"] + b[3] * (age == 2) + b[4] * (age == 3) + b[5] * (age == 4)
        + b[6] * d["educ1"] + b[7] * d["gender"] + b[8] * d["income"]
    )  # fmt: skip


def interaction_c(d, b):
    h, q = d["mom_hs"] - d["mom_hs"].mean(), d["mom_iq"] - d["mom_iq"].mean()
    return b[0] + b[1] * h + b[2] * q + b[3] * h * q


def mom_work(d, b):
    return np.array([b[0], b[0] + b[1], b[0] + b[2], b[0] + b[3]])[d["mom_work"].astype(int) - 1]


def mesquite(d, b):
    return (
        b[0] + b[1] * d["diam1"] + b[2] * d["diam2"] + b[3] * d["canopy_height"] + b[4] * d["total_height"]
        + b[5] * d["density"] + b[6] * d["group"]
    )  # fmt: skip


def logmesquite(d, b):
    return (
        b[0] + b[1] * np.log(d["diam1"]) + b[2] * np.log(d["diam2"]) + b[3] * np.log(d["canopy_height"])
        + b[4] * np.log(d["total_height"]) + b[5] * np.log(d["density"]) + b[6] * d["group"]
    )  # fmt: skip


def logmesquite_logva(d, b):
    volume, area = np.log(d["diam1"] * d["diam2"] * d["canopy_height"]), np.log(d["diam1"] * d["diam2"])
    return b[0] + b[1] * volume + b[2] * area + b[3] * d["group"]


def logmesquite_logvas(d, b):
    volume, area = np.log(d["diam1"] * d["diam2"] * d["canopy_height"]), np.log(d["diam1"] * d["diam2"])
    return (
        b[0] + b[1] * volume + b[2] * area + b[3] * np.log(d["diam1"] / d["diam2"]) + b[4] * np.log(d["total_height"])
        + b[5] * np.log(d["density"]) + b[6] * d["group"]
    )  # fmt: skip


def blr(d, x):
    prior = normal(x["beta"], 0, 10) + normal(x["sigma"], 0, 10)
    return prior + normal(d["y"], (d["X"] * x["beta"]).sum(1), x["sigma"])


def diamonds(d, x):
    centred = d["X"][:, 1:] - d["X"][:, 1:].mean(0)
    prior = normal(x["b"], 0, 1) + stats.t.logpdf(x["Intercept"], 3, 8, 10) + stats.t.logpdf(x["sigma"], 3, 0, 10)
    return prior + normal(d["Y"], x["Intercept"] + (centred * x["b"]).sum(1), x["sigma"])


def autoregression(d, x):
    prior = normal(x["alpha"], 0, 10) + normal(x["beta"], 0, 10) + stats.cauchy.logpdf(x["sigma"], 0, 2.5)
    y, order = d["y"], int(d["K"])
    total = prior
    for t in range(order, len(y)):
        mean = x["alpha"] + sum(x["beta"][k] * y[t - 1 - k] for k in range(order))
        total += normal(y[t], mean, x["sigma"])
    return total


def centered_schools(d, x):
    prior = normal(x["theta"], x["mu"], x["tau"]) + normal(x["mu"], 0, 5) + stats.cauchy.logpdf(x["tau"], 0, 5)
    return prior + normal(d["y"], x["theta"], d["sigma"])


def noncentered_schools(d, x):
    prior = normal(x["theta_trans"], 0, 1) + normal(x["mu"], 0, 5) + stats.cauchy.logpdf(x["tau"], 0, 5)
    return prior + normal(d["y"], x["mu"] + x["tau"] * x["theta_trans"], d["sigma"])


def garch(d, x):
    alpha1, beta1, _ = x["weights"]
    y, variance = d["y"], d["sigma1"] ** 2
    total = normal(y[0], x["mu"], np.sqrt(variance))
    for t in range(1, len(y)):
        variance = x["alpha0"] + alpha1 * (y[t - 1] - x["mu"]) ** 2 + beta1 * variance
        total += normal(y[t], x["mu"], np.sqrt(variance))
    return total


def gaussian_process(d, x):
    points, rho, alpha, sigma = d["x"], x["rho"], x["alpha"], x["sigma"]
    size = len(points)
    covariance = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            covariance[i, j] = alpha**2 * np.exp(-((points[i] - points[j]) ** 2) / (2 * rho**2)) + sigma * (i == j)
    prior = stats.gamma.logpdf(rho, 25, scale=1 / 4) + normal(alpha, 0, 2) + normal(sigma, 0, 1)
    return prior + stats.multivariate_normal.logpdf(d["y"], np.zeros(size), covariance)


def forward(log_emission, theta):
    """The likelihood of a hidden Markov model, by the recursion over time; `log_emission` is `[N, K]`."""
    gamma = log_emission[0]
    for row in log_emission[1:]:
        gamma = logsumexp(gamma[:, None] + np.log(theta), axis=0) + row
    return logsumexp(gamma)


def hmm_example(d, x):
    emission = stats.norm.logpdf(d["y"][:, None], x["mu"], 1.0)
    return normal(x["mu"], [3, 10], 1) + forward(emission, np.stack([x["theta1"], x["theta2"]]))


def hmm_drive(d, x):
    prior = normal(x["phi"], [0, 3], 1) + normal(x["lambda"], [0, 3], 1)
    for counts, row in zip(d["alpha"], (x["theta1"], x["theta2"]), strict=True):
        prior += ((counts - 1) * np.log(row)).sum()
    emission = np.log(x["phi"]) - x["phi"] * d["u"][:, None] + np.log(x["lambda"]) - x["lambda"] * d["v"][:, None]
    return prior + forward(emission, np.stack([x["theta1"], x["theta2"]]))


def mixture(d, x):
    prior = normal(x["mu"], 0, 2) + normal(x["sigma"], 0, 2) + stats.beta.logpdf(x["theta"], 5, 5)
    first, second = (stats.norm.logpdf(d["y"], x["mu"][k], x["sigma"][k]) for k in (0, 1))
    return prior + np.logaddexp(np.log(x["theta"]) + first, np.log1p(-x["theta"]) + second).sum()


def populations(theta, init, times):
    """Prey and predators `[N, 2]`, by steps of controlled size."""

    def slopes(_, z):
        return [(theta[0] - theta[1] * z[1]) * z[0], (-theta[2] + theta[3] * z[0]) * z[1]]

    solution = solve_ivp(slopes, (0, times[-1]), init, t_eval=times, method="DOP853", rtol=1e-10, atol=1e-10)
    return solution.y.T


def lotka_volterra(d, x):
    theta, init, sigma = x["theta"], x["z_init"], x["sigma"]
    prior = normal(theta[[0, 2]], 1, 0.5) + normal(theta[[1, 3]], 0.05, 0.05)
    prior += stats.lognorm.logpdf(sigma, 1, scale=np.exp(-1)).sum() + stats.lognorm.logpdf(init, 1, scale=10).sum()
    start = stats.lognorm.logpdf(d["y_init"], sigma, scale=init).sum()
    return prior + start + stats.lognorm.logpdf(d["y"], sigma, scale=populations(theta, init, d["ts"])).sum()


def _flat(response, mean):
    return lambda d, x: normal(response(d), mean(d, x["beta"]), x["sigma"])


def _kidscore(mean):
    def density(d, x):
        return normal(d["kid_score"], mean(d, x["beta"]), x["sigma"]) + stats.halfcauchy.logpdf(x["sigma"], scale=2.5)

    return density


DENSITIES = {
    "arK-arK": autoregression,
    "bball_drive_event_0-hmm_drive_0": hmm_drive,
    "diamonds-diamonds": diamonds,
    "earnings-earn_height": _flat(lambda d: d["earn"], lambda d, b: b[0] + b[1] * d["height"]),
    "earnings-logearn_height": _flat(lambda d: np.log(d["earn"]), lambda d, b: b[0] + b[1] * d["height"]),
    "earnings-logearn_height_male": _flat(
        lambda d: np.log(d["earn"]), lambda d, b: b[0] + b[1] * d["height"] + b[2] * d["male"]
    ),
    "earnings-logearn_interaction": _flat(
        lambda d: np.log(d["earn"]),
        lambda d, b: b[0] + b[1] * d["height"] + b[2] * d["male"] + b[3] * d["height"] * d["male"],
    ),
    "earnings-logearn_logheight_male": _flat(
        lambda d: np.log(d["earn"]), lambda d, b: b[0] + b[1] * np.log(d["height"]) + b[2] * d["male"]
    ),
    "eight_schools-eight_schools_centered": centered_schools,
    "eight_schools-eight_schools_noncentered": noncentered_schools,
    "garch-garch11": garch,
    "gp_pois_regr-gp_regr": gaussian_process,
    "hmm_example-hmm_example": hmm_example,
    "hudson_lynx_hare-lotka_volterra": lotka_volterra,
    "kidiq-kidscore_momhs": _kidscore(lambda d, b: b[0] + b[1] * d["mom_hs"]),
    "kidiq-kidscore_momhsiq": _kidscore(lambda d, b: b[0] + b[1] * d["mom_hs"] + b[2] * d["mom_iq"]),
    "kidiq-kidscore_momiq": _kidscore(lambda d, b: b[0] + b[1] * d["mom_iq"]),
    "kidiq_with_mom_work-kidscore_interaction_c": _flat(lambda d: d["kid_score"], interaction_c),
    "kidiq_with_mom_work-kidscore_mom_work": _flat(lambda d: d["kid_score"], mom_work),
    "low_dim_gauss_mix-low_dim_gauss_mix": mixture,
    "mesquite-logmesquite": _flat(lambda d: np.log(d["weight"]), logmesquite),
    "mesquite-logmesquite_logva": _flat(lambda d: np.log(d["weight"]), logmesquite_logva),
    "mesquite-logmesquite_logvas": _flat(lambda d: np.log(d["weight"]), logmesquite_logvas),
    "mesquite-mesquite": _flat(lambda d: d["weight"], mesquite),
    "sblrc-blr": blr,
}
