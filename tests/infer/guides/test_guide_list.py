"""AutoGuideList: parts of one model, each with a guide of its own."""

import copy
import pickle

import pytest
import torch
from torch import nn

import posterity as pt
from posterity.handlers import block, replay, trace
from posterity.infer import AutoDelta, AutoGuideList, AutoMultivariateNormal, AutoNormal

dist = pt.distributions


def model():
    pt.sample("a", dist.Normal(torch.zeros(2), 1.0))
    pt.sample("b", dist.Gamma(torch.ones(2), 1.0))
    pt.sample("k", dist.Bernoulli(0.5))


def not_b(site):
    return site.name in ("b", "k")


def only_b(site):
    return site.name == "b"


class Coin(nn.Module):
    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(()))

    def forward(self):
        pt.sample("k", dist.Bernoulli(logits=self.logit))


def parts():
    return AutoGuideList(
        [AutoMultivariateNormal(block(model, hide_fn=not_b)), AutoDelta(block(model, expose_fn=only_b)), Coin()]
    )


def test_the_parts_together_draw_what_the_model_has():
    guide = parts()
    values = guide()
    recorded = trace(guide).get_trace()
    assert {name: tuple(value.shape) for name, value in values.items()} == {"a": (2,), "b": (2,), "k": ()}
    assert list(recorded) == ["_auto_latent", "a", "b", "k"]
    assert trace(replay(model, recorded)).get_trace().log_prob_sum().isfinite()


def test_parameters_of_all_parts_are_its_own():
    guide = parts().setup()
    names = set(dict(guide.named_parameters()))
    assert names == {"0.loc", "0.raw_scale", "0.raw_tril", "1.loc.b", "2.logit"}
    for copied in (copy.deepcopy(guide), pickle.loads(pickle.dumps(guide))):
        assert set(copied.state_dict()) == names
        with torch.no_grad():
            next(copied.parameters()).add_(1.0)
        assert not torch.equal(copied[0].loc, guide[0].loc)


def test_draws_of_all_parts_follow_the_generator_and_are_independent():
    guide = AutoGuideList(
        [AutoNormal(block(model, hide_fn=not_b)), AutoNormal(block(model, expose_fn=only_b)), Coin()]
    ).setup()
    draws = guide.sample_posterior((200,), generator=1)
    again = guide.sample_posterior((200,), generator=1)
    assert {name: tuple(value.shape) for name, value in draws.items()} == {"a": (200, 2), "b": (200, 2), "k": (200,)}
    assert all(torch.equal(draws[name], again[name]) for name in draws)
    correlation = torch.corrcoef(torch.cat([draws["a"], draws["b"].log()], -1).T)
    assert (correlation - torch.eye(4)).abs().max() < 5 / 200**0.5
    assert guide.sample_posterior((2, 3))["k"].shape == (2, 3)


def test_two_joint_guides_have_sites_of_their_own():
    guide = AutoGuideList(
        [AutoMultivariateNormal(block(model, hide_fn=not_b)), AutoMultivariateNormal(block(model, expose_fn=only_b))]
    )
    assert list(trace(guide).get_trace()) == ["_auto_latent", "a", "_auto_latent_1", "b"]


def test_parts_in_one_subsampled_plate_take_the_same_elements():
    def local():
        with pt.plate("data", 100, subsample_size=5):
            pt.sample("a", dist.Normal(torch.zeros(()), 1.0))
            pt.sample("b", dist.Normal(torch.zeros(()), 1.0))

    guide = AutoGuideList([AutoNormal(block(local, hide=["b"])), AutoNormal(block(local, hide=["a"]))]).setup()
    with torch.no_grad():
        for part in guide:
            (name,) = part.latents
            part.loc[name].copy_(torch.arange(100.0))
            part.raw_scale[name].fill_(-20.0)
    values = guide()
    torch.testing.assert_close(values["a"].round(), values["b"].round())
    assert values["a"].round().unique().shape == (5,)


def test_medians_are_those_of_the_parts():
    guide = AutoGuideList(list(parts())[:2]).setup()
    assert torch.equal(guide.median()["b"], guide[1].median()["b"])
    assert set(guide.quantiles([0.1, 0.9])) == {"a", "b"}


def test_a_part_without_quantiles_is_named():
    with pytest.raises(TypeError, match="part 2 of AutoGuideList, a Coin, has no quantiles"):
        parts().quantiles([0.5])
    with pytest.raises(TypeError, match="part 2 of AutoGuideList, a Coin, has no median"):
        parts().median()


def test_two_parts_that_guide_one_site_are_refused():
    guide = AutoGuideList([AutoNormal(block(model, expose_fn=only_b)), AutoDelta(block(model, hide=["k"]))])
    with pytest.raises(ValueError, match="site 'b' is guided by parts 0 and 1 of AutoGuideList"):
        guide.setup()


def test_an_empty_list_is_refused():
    with pytest.raises(ValueError, match="AutoGuideList has no parts"):
        AutoGuideList()()


def test_a_part_that_is_no_guide_is_refused():
    with pytest.raises(TypeError, match="a part of AutoGuideList must be a guide to call, not a int"):
        AutoGuideList([1])
