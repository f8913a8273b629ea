"""Floor 4: whether the draws of Markov chains can be used, and how precise estimates from them are."""

from posterity.infer.diagnostics.advice import advice
from posterity.infer.diagnostics.bayesian_fraction import bayesian_fraction
from posterity.infer.diagnostics.effective_sample_size import effective_sample_size
from posterity.infer.diagnostics.split_rhat import split_rhat
from posterity.infer.diagnostics.standard_error import standard_error
from posterity.infer.diagnostics.summary import Summary, summarize

__all__ = [
    "Summary",
    "advice",
    "bayesian_fraction",
    "effective_sample_size",
    "split_rhat",
    "standard_error",
    "summarize",
]
