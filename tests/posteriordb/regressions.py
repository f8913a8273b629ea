"""Linear regressions with normal errors, which differ in their predictors and in their priors."""

import torch
from torch.distributions import constraints

import posterity as pt
from posterity import distributions as dist
from tests.posteriordb.records import columns, double


def flat(predictors, y):
    """Flat priors of coefficients and scale."""
    beta = pt.sample("beta", dist.ImproperUniform(constraints.real, event_shape=predictors.shape[1:]))
    sigma = pt.sample("sigma", dist.ImproperUniform(constraints.positive))
    _observe(predictors @ beta, sigma, y)


def half_cauchy(predictors, y):
    """Flat coefficients, a half-Cauchy scale."""
    beta = pt.sample("beta", dist.ImproperUniform(constraints.real, event_shape=predictors.shape[1:]))
    sigma = pt.sample("sigma", dist.HalfCauchy(2.5))
    _observe(predictors @ beta, sigma, y)


def normal(predictors, y):
    """Normal coefficients, a half-normal scale."""
    beta = pt.sample("beta", dist.Normal(0.0, 10.0).expand(predictors.shape[1:]).to_event(1))
    sigma = pt.sample("sigma", dist.HalfNormal(10.0))
    _observe(predictors @ beta, sigma, y)


def centred(predictors, y):
    """Normal coefficients of centred predictors; Student's t of intercept and scale."""
    b = pt.sample("b", dist.Normal(0.0, 1.0).expand(predictors.shape[1:]).to_event(1))
    intercept = pt.sample("Intercept", dist.StudentT(3.0, 8.0, 10.0))
    sigma = pt.sample("sigma", dist.HalfStudentT(3.0, 10.0))
    _observe(intercept + predictors @ b, sigma, y)


def _observe(mean, sigma, y):
    with pt.plate("observations", len(y)):
        pt.sample("y", dist.Normal(mean, sigma), obs=y)


# From the data of a file to the arguments `predictors`, `[N, D]`, and `y`, `[N]`.


def earn_height(data):
    height, earn = columns(data, "height", "earn")
    return _with_intercept(height), earn


def logearn_height(data):
    height, earn = columns(data, "height", "earn")
    return _with_intercept(height), earn.log()


def logearn_height_male(data):
    height, male, earn = columns(data, "height", "male", "earn")
    return _with_intercept(height, male), earn.log()


def logearn_interaction(data):
    height, male, earn = columns(data, "height", "male", "earn")
    return _with_intercept(height, male, height * male), earn.log()


def logearn_logheight_male(data):
    height, male, earn = columns(data, "height", "male", "earn")
    return _with_intercept(height.log(), male), earn.log()


def kidscore_momhs(data):
    high_school, score = columns(data, "mom_hs", "kid_score")
    return _with_intercept(high_school), score


def kidscore_momiq(data):
    iq, score = columns(data, "mom_iq", "kid_score")
    return _with_intercept(iq), score


def kidscore_momhsiq(data):
    high_school, iq, score = columns(data, "mom_hs", "mom_iq", "kid_score")
    return _with_intercept(high_school, iq), score


def kidscore_interaction_c(data):
    high_school, iq, score = columns(data, "mom_hs", "mom_iq", "kid_score")
    high_school, iq = high_school - high_school.mean(), iq - iq.mean()
    return _with_intercept(high_school, iq, high_school * iq), score


def kidscore_mom_work(data):
    work, score = columns(data, "mom_work", "kid_score")
    return _with_intercept(*_levels(work, 2, 3, 4)), score


def mesquite(data):
    return _with_intercept(*columns(data, *_SIZES, "density", "group")), double(data["weight"])


def logmesquite(data):
    *logs, weight = (c.log() for c in columns(data, *_SIZES, "density", "weight"))
    return _with_intercept(*logs, double(data["group"])), weight


def logmesquite_logva(data):
    diam1, diam2, canopy, group, weight = columns(data, "diam1", "diam2", "canopy_height", "group", "weight")
    area = diam1 * diam2
    return _with_intercept((area * canopy).log(), area.log(), group), weight.log()


def logmesquite_logvas(data):
    diam1, diam2, canopy, total, density, group, weight = columns(data, *_SIZES, "density", "group", "weight")
    area, shape = diam1 * diam2, diam1 / diam2
    logs = (c.log() for c in (area * canopy, area, shape, total, density))
    return _with_intercept(*logs, group), weight.log()


def nes(data):
    ideology, race, age, *others, party = columns(
        data, "real_ideo", "race_adj", "age_discrete", "educ1", "gender", "income", "partyid7"
    )
    return _with_intercept(ideology, race, *_levels(age, 2, 3, 4), *others), party


def blr(data):
    return columns(data, "X", "y")


def diamonds(data):
    predictors, y = columns(data, "X", "Y")
    return predictors[:, 1:] - predictors[:, 1:].mean(0), y


_SIZES = ("diam1", "diam2", "canopy_height", "total_height")


def _with_intercept(*predictors):
    return torch.stack([torch.ones_like(predictors[0]), *predictors], -1)


def _levels(factor, *levels):
    """The indicators of a factor's levels."""
    return [(factor == level).to(factor.dtype) for level in levels]
