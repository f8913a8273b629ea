"""Posterity: PyTorch models that say what they don't know.

The names here are those that a user types every day; the rest is in the floors: `posterity.nn`,
`posterity.transform`, `posterity.distributions`, `posterity.infer`, `posterity.toolbox`. Each is imported
when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from posterity._version import __version__

if TYPE_CHECKING:
    from posterity import (
        bijectors,
        distributions,
        handlers,
        infer,
        kernels,
        networks,
        nn,
        ppl,
        prediction,
        runtime,
        toolbox,
        transform,
    )
    from posterity.ppl.markov import markov
    from posterity.ppl.module import module
    from posterity.ppl.plate import plate
    from posterity.ppl.primitives import deterministic, factor, param, sample
    from posterity.ppl.render import render_model
    from posterity.prediction.elbo import elbo_loss
    from posterity.prediction.predict import predict
    from posterity.prediction.prediction import Prediction
    from posterity.transform.bayesianize import bayesianize

__all__ = [
    "Prediction",
    "__version__",
    "bayesianize",
    "bijectors",
    "deterministic",
    "distributions",
    "elbo_loss",
    "factor",
    "handlers",
    "infer",
    "kernels",
    "markov",
    "module",
    "networks",
    "nn",
    "param",
    "plate",
    "ppl",
    "predict",
    "prediction",
    "render_model",
    "runtime",
    "sample",
    "toolbox",
    "transform",
]

_HOMES = {
    "Prediction": "posterity.prediction",
    "bayesianize": "posterity.transform",
    "deterministic": "posterity.ppl",
    "elbo_loss": "posterity.prediction",
    "factor": "posterity.ppl",
    "markov": "posterity.ppl",
    "module": "posterity.ppl",
    "param": "posterity.ppl",
    "plate": "posterity.ppl",
    "predict": "posterity.prediction",
    "render_model": "posterity.ppl",
    "sample": "posterity.ppl",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes a second: `posterity --version` and a Ctrl-C in that second must not have to wait for it.
    if name not in __all__:
        raise AttributeError(f"module 'posterity' has no attribute {name!r}")
    home = _HOMES.get(name)
    value = getattr(importlib.import_module(home), name) if home else importlib.import_module(f"posterity.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
