import torch
from torch import nn

import posterity as pt
from posterity.kernels import log_ndtr
from posterity.ppl import provenance
from posterity.ppl.provenance import tensors_in

dist, handle = pt.distributions, pt.handlers


def from_x(make):
    """What a tensor made from the value `[3]` of a site called x comes from."""
    with provenance() as followed:
        x = pt.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        return followed.of(make(x))


X, NONE = frozenset({"x"}), frozenset()


def in_place(x):
    made = torch.zeros(4)
    made[1:] = x
    return made


def through_a_view(x):
    made = torch.zeros(4)
    made[1:].add_(x)
    return made[:1]


def out(x):
    made = torch.zeros(3)
    torch.exp(x, out=made)
    return made


class TestOperations:
    def test_what_is_computed_from_a_value_comes_from_its_site(self):
        makers = [
            lambda x: x,
            lambda x: (2 * x + 1).exp().sum(),
            lambda x: x[1:],
            lambda x: torch.zeros(5)[x.long()],
            lambda x: torch.stack([torch.zeros(3), x]),
            lambda x: x.max(0).values,
            lambda x: x.detach(),
            lambda x: torch.where(x > 0, 1.0, 2.0),
            lambda x: log_ndtr(x),
            lambda x: log_ndtr(x.clone().requires_grad_()),
            in_place,
            through_a_view,
            out,
        ]
        assert [from_x(make) for make in makers] == [X] * len(makers)

    def test_what_is_not_has_no_past(self):
        with provenance() as followed:
            x = pt.sample("x", dist.Normal(0.0, 1.0))
            assert followed.of(torch.ones(3) * 2) == NONE
            assert followed.of(torch.full((2,), x.item())) == NONE
            assert followed.of("x", None, 3) == NONE

    def test_values_go_through_networks(self):
        layers = [
            nn.Linear(3, 2),
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4)),
            lambda x: nn.LSTM(3, 2)(x)[0],
            lambda x: nn.MultiheadAttention(3, 1)(x, x, x)[0],
        ]
        assert [from_x(lambda x, layer=layer: layer(x.expand(2, 3))) for layer in layers] == [X] * 4

    def test_values_go_into_distributions(self):
        scale = nn.Parameter(torch.ones(3))
        made = [
            lambda x: dist.Normal(x, 1.0),
            lambda x: dist.Normal(x, scale).to_event(1),
            lambda x: dist.Normal(x, 1.0).mask(torch.tensor(True)),
            lambda x: dist.TransformedDistribution(dist.Normal(0.0, 1.0), [pt.bijectors.ScalarAffine(1.0, x)]),
            lambda x: dist.MixtureSameFamily(dist.Categorical(logits=x), dist.Normal(torch.zeros(3), 1.0)),
            lambda x: {"deep": [(dist.Normal(x, 1.0),)]},
        ]
        assert [from_x(make) for make in made] == [X] * 6

    def test_in_place_writing_leaves_other_memory_alone(self):
        with provenance() as followed:
            x = pt.sample("x", dist.Normal(0.0, 1.0))
            source, copy = torch.zeros(2), torch.zeros(2)
            copy.copy_(source + x)
            assert followed.of(source) == NONE
            assert followed.of(copy) == X

    def test_it_works_under_vmap_and_on_stand_ins(self, no_validation):
        from torch.fx.experimental.proxy_tensor import make_fx

        def model(y):
            with provenance() as followed:
                x = pt.sample("x", dist.Normal(y, 1.0))
                assert followed.of(2 * x) == X
            return x

        torch.vmap(model, randomness="different")(torch.zeros(3))
        make_fx(lambda y: handle.seed(model, 0)(y), tracing_mode="fake", _allow_non_fake_inputs=True)(torch.zeros(3))


class TestSites:
    def test_a_site_comes_from_those_that_its_distribution_was_made_of(self):
        def model(y):
            a = pt.sample("a", dist.Normal(0.0, 1.0))
            b = pt.sample("b", dist.Normal(a, 1.0))
            c = pt.deterministic("c", a * b)
            scale = pt.param("scale", torch.tensor(1.0))
            pt.sample("y", dist.Normal(c, scale), obs=y)
            pt.factor("term", b)

        followed = provenance(model)
        followed(torch.tensor(0.0))
        assert followed.parents == {
            "a": NONE,
            "b": {"a"},
            "c": {"a", "b"},
            "scale": NONE,
            "y": {"c", "scale"},
            "term": {"b"},
        }
        assert followed.ancestors_of("y") == {"a", "b", "c", "scale"}
        assert followed.latents == {"a", "b"}

    def test_a_value_under_two_names_keeps_them_apart(self):
        def model(y):
            x = pt.sample("x", dist.Normal(0.0, 1.0))
            pt.deterministic("renamed", x)
            pt.sample("z", dist.Normal(x, 1.0))
            pt.sample("y", dist.Normal(x, 1.0), obs=y)
            pt.sample("w", dist.Normal(y, 1.0))

        followed = provenance(model)
        followed(torch.tensor(0.0))
        assert followed.parents["z"] == {"x"}
        assert followed.parents["w"] == NONE

    def test_plates_and_replays_keep_the_past(self):
        def model():
            mu = pt.sample("mu", dist.Normal(0.0, 1.0))
            with pt.plate("data", 3):
                theta = pt.sample("theta", dist.Normal(mu, 1.0))
                pt.sample("y", dist.Normal(theta, 1.0), obs=torch.zeros(3))

        recorded = handle.trace(model).get_trace()
        followed = provenance(handle.replay(model, recorded))
        followed()
        assert followed.parents == {"mu": NONE, "theta": {"mu"}, "y": {"theta"}}

    def test_weights_of_a_network_reach_its_outputs(self):
        network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))

        def model():
            f = pt.module("net", network, prior={"0.*": dist.Normal(0.0, 1.0)})
            pt.sample("y", dist.Normal(f(torch.ones(2)), 1.0))

        followed = provenance(model)
        followed()
        assert followed.parents["y"] == {"net.0.weight", "net.0.bias"}

    def test_data_stand_between_a_value_and_what_is_above(self):
        with provenance() as followed:
            x = pt.sample("x", dist.Normal(0.0, 1.0))
            y = pt.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(1.0))
            c = pt.deterministic("c", 2 * x)
            assert followed.ancestors(y) == {"x", "y"}
            assert not followed.depends_on_latents(y)
            assert followed.depends_on_latents(c + y)

    def test_every_run_starts_afresh(self):
        followed = provenance(lambda name: pt.sample(name, dist.Normal(0.0, 1.0)))
        followed("a")
        followed("b")
        assert followed.parents == {"b": NONE}

    def test_an_error_ends_the_following(self):
        followed = provenance()
        try:
            with followed:
                raise ArithmeticError
        except ArithmeticError:
            pass
        assert torch.overrides._get_current_function_mode_stack() == []


def test_tensors_are_found_once_in_what_holds_itself():
    loop = {"tensor": torch.ones(1)}
    loop["itself"] = loop
    assert len(list(tensors_in(loop))) == 1
