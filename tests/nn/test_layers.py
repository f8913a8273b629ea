"""What the layers' constructors share."""

import torch

from posterity import nn as bnn
from posterity.nn.layers import uses_estimator


def test_everything_in_a_fresh_layer_is_random():
    layer = bnn.Linear(3, 2)
    assert [name for _, name, _ in bnn.random_parameters(layer)] == ["weight", "bias"]


def test_prior_and_posterior_are_those_asked_for():
    family, recipe = bnn.MeanFieldNormal(0.2), bnn.FanIn(gain=2.0)
    layer = bnn.Conv1d(1, 2, 3, prior=recipe, posterior=family)
    for _, _, random in bnn.random_parameters(layer):
        assert random.posterior is family
        assert random.prior is recipe


def test_an_estimator_runs_only_while_a_draw_is_open_that_allows_it():
    layer = bnn.Linear(3, 2, estimator="flipout")
    assert not uses_estimator(layer)
    with bnn.shared_draw(layer):
        assert not uses_estimator(layer)
    seen = []
    layer.register_forward_hook(lambda *_: seen.append(uses_estimator(layer)))
    with torch.no_grad():
        torch.nn.Sequential(layer)(torch.ones(1, 3))
    assert seen == [False]
