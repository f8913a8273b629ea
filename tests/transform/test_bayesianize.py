"""Every kind of network made Bayesian, and every way to say which part of it."""

import copy
import io
import pickle

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import posterity as pt
from posterity import distributions as dist
from posterity import nn as bnn
from tests.transform import zoo

each_case = pytest.mark.parametrize("case", zoo.CASES.values(), ids=zoo.CASES)


def first(output):
    return output[0] if isinstance(output, tuple) else output


def silence(net: nn.Module) -> nn.Module:
    """Put every spread to zero."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("rho"):
                p.fill_(-800.0)
    return net


@each_case
def test_no_spread_is_the_network_itself(case):
    net, x = case.make().eval(), case.inputs()
    expected = first(net(*x))
    converted = silence(pt.bayesianize(net, **case.keywords))
    torch.testing.assert_close(first(converted(*x)), expected)
    with torch.no_grad():
        torch.testing.assert_close(first(converted(*x)), expected)
    with bnn.shared_draw(converted):
        torch.testing.assert_close(first(converted(*x)), expected)


@each_case
def test_samples_are_distinct_and_the_original_is_left_alone(case):
    net, x = case.make().eval(), case.inputs()
    before, kinds = copy.deepcopy(net.state_dict()), [type(m) for m in net.modules()]
    converted = pt.bayesianize(net, **case.keywords)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert not torch.equal(first(converted(*x)), first(converted(*x)))
    assert [type(m) for m in net.modules()] == kinds
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    for m, kind in zip(converted.modules(), kinds, strict=True):
        assert isinstance(m, kind)


@each_case
def test_gradients_reach_every_parameter(case):
    net = pt.bayesianize(case.make(), **case.keywords)
    loss = pt.elbo_loss(net, first(net(*case.inputs())).square().mean(), num_data=100)
    loss.backward()
    for name, p in net.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name


@each_case
def test_copies_and_state_dicts(case):
    net, x = case.make().eval(), case.inputs()
    source = pt.bayesianize(net, **case.keywords)
    with torch.no_grad():
        for p in source.parameters():
            p.add_(0.1 * torch.randn_like(p))
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    loaded = pt.bayesianize(case.make().eval(), **case.keywords)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (loaded, copy.deepcopy(source), pickle.loads(pickle.dumps(source))):
        assert type(other) is type(source)
        assert list(other.state_dict()) == list(source.state_dict())
        torch.manual_seed(4)
        expected = first(source(*x))
        torch.manual_seed(4)
        assert torch.equal(first(other(*x)), expected)


@each_case
def test_the_way_back(case):
    net = case.make()
    converted = pt.bayesianize(net, **case.keywords)
    back = pt.transform.deterministic(converted)
    assert [type(m) for m in back.modules()] == [type(m) for m in net.modules()]
    assert list(back.state_dict()) == list(net.state_dict())
    assert [name for name, _ in back.named_parameters()] == [name for name, _ in net.named_parameters()]
    for name, value in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
    assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in net.parameters()]
    assert all("_random" not in vars(m) for m in back.modules())
    expected, actual = (first(m.eval()(*x)) for x in [case.inputs()] for m in (net, back))
    assert torch.equal(actual, expected)


class TestCases:
    def test_a_recurrent_network_draws_once_a_sequence(self):
        """Run over a sequence in one call, and step by step under the same draw: the same outputs."""
        net = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        net = pt.bayesianize(net, posterior=bnn.MeanFieldNormal(0.5))
        x = torch.randn(2, 7, 3)
        with bnn.shared_draw(net):
            whole, _ = net(x)
            weights = {name: getattr(net, name).detach() for _, name, _ in bnn.random_parameters(net)}
        ordinary = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        expected, _ = torch.func.functional_call(ordinary, weights, (x,))
        torch.testing.assert_close(whole, expected)

    def test_a_recurrent_network_without_memory_repeats_itself(self):
        """With constant input, every step gives the same output only under one set of weights."""
        net = nn.RNN(3, 4, batch_first=True)
        with torch.no_grad():
            net.weight_hh_l0.zero_()
        net = pt.bayesianize(net, exclude="weight_hh_l0", posterior=bnn.MeanFieldNormal(1.0))
        out, _ = net(torch.ones(2, 7, 3))
        torch.testing.assert_close(out, out[:, :1].expand_as(out))
        assert not torch.equal(net(torch.ones(2, 7, 3))[0], out)

    def test_the_encoder_layers_fast_path_sees_draws(self):
        net = pt.bayesianize(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
        x = torch.randn(2, 6, 8)
        with torch.no_grad():
            torch.manual_seed(1)
            fast = net(x)
        torch.manual_seed(1)
        slow = net(x)
        assert not torch.equal(net(x), slow)
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("training", [True, False])
    def test_attentions_output_projection_is_random(self, training):
        net = nn.MultiheadAttention(8, 2, batch_first=True).train(training)
        net = pt.bayesianize(net, include="out_proj")
        s = torch.randn(2, 3, 8)
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                assert not torch.equal(net(s, s, s)[0], net(s, s, s)[0])

    def test_batch_norm_keeps_its_statistics(self):
        net = pt.bayesianize(zoo.normalised())
        before = net[1].running_mean.clone()
        net.train()(*zoo.images())
        assert net[1].num_batches_tracked == 1
        after = net[1].running_mean.clone()
        assert not torch.equal(after, before)
        net.eval()(*zoo.images())
        assert torch.equal(net[1].running_mean, after)

    def test_hooks_are_kept(self):
        net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        called = []
        net[0].register_forward_hook(lambda *_: called.append("forward"))
        net[0].register_forward_pre_hook(lambda *_: called.append("before"))
        net.register_full_backward_hook(lambda *_: called.append("backward"))
        pt.bayesianize(net, inplace=True)
        net(torch.ones(1, 3, requires_grad=True)).sum().backward()
        assert called == ["before", "forward", "backward"]

    def test_tied_weights_stay_tied(self):
        net = pt.bayesianize(zoo.TiedWeights())
        assert net.head.weight_loc is net.embedding.weight_loc
        with bnn.shared_draw(net):
            assert torch.equal(net.head.weight, net.embedding.weight)
        back = pt.transform.deterministic(net)
        assert back.head.weight is back.embedding.weight

    def test_tied_weights_have_one_value_in_a_forward(self):
        net = pt.bayesianize(zoo.TiedWeights(), posterior=bnn.MeanFieldNormal(1.0))
        logits = net(torch.arange(11))
        torch.testing.assert_close(logits, logits.mT)

    def test_weight_norm(self):
        layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))
        x = torch.randn(5, 8)
        net = pt.bayesianize(layer)
        assert not torch.equal(net(x), net(x))
        assert "parametrizations.weight.original0_loc" in dict(net.named_parameters())
        silent = silence(copy.deepcopy(net))
        torch.testing.assert_close(silent(x), layer(x))
        net(x).sum().backward()
        assert all(p.grad is not None for p in net.parameters())

    @pytest.mark.parametrize(
        "name", ["bare linear", "attention", "lstm", "batch norm", "encoder layer", "raw parameters"]
    )
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_parameters(self, name, dtype):
        case = zoo.CASES[name]
        net = pt.bayesianize(case.make().to(dtype)).eval()
        x = tuple(t.to(dtype) for t in case.inputs())
        out = first(net(*x))
        assert out.dtype == dtype
        assert out.isfinite().all()
        assert not torch.equal(out, first(net(*x)))

    @pytest.mark.parametrize(
        "name", ["bare linear", "attention", "lstm", "batch norm", "encoder layer", "tied weights"]
    )
    def test_autocast(self, name):
        case = zoo.CASES[name]
        net = pt.bayesianize(case.make())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = first(net(*case.inputs()))
        (out.float().square().mean() + 0.01 * bnn.kl_divergence(net)).backward()
        assert all(p.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())

    def test_frozen_parameters_stay_as_they_are(self):
        net = zoo.partly_frozen()
        converted = pt.bayesianize(net)
        assert type(converted[0]) is nn.Linear
        assert torch.equal(converted[0].weight, net[0].weight)
        assert not converted[0].weight.requires_grad
        assert isinstance(converted[2], bnn.Linear)

    def test_means_are_the_trained_values_and_order_stays(self):
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        converted = pt.bayesianize(net, posterior=bnn.MeanFieldNormal(0.1))
        assert [n for n, _ in converted.named_parameters()] == [
            f"{n}_{key}" for n, _ in net.named_parameters() for key in ("loc", "rho")
        ]
        for name, p in net.named_parameters():
            assert torch.equal(converted.get_parameter(f"{name}_loc"), p)

    @pytest.mark.parametrize("name", ["batch norm", "lstm", "encoder layer", "raw parameters"])
    def test_safetensors(self, name):
        case = zoo.CASES[name]
        source = pt.bayesianize(case.make().eval(), prior=dist.Normal(0.0, 1.0))
        target = pt.bayesianize(case.make().eval(), prior=dist.Normal(0.0, 1.0))
        target.load_state_dict(load(save(source.state_dict())))
        x = case.inputs()
        outputs = []
        for net in (source, target):
            torch.manual_seed(4)
            outputs.append(first(net(*x)))
        assert torch.equal(*outputs)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


ALL = ["body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"]
ALL += ["norm.weight", "norm.bias", "head.weight", "head.bias"]


def random_names(net: nn.Module) -> list[str]:
    return [n.removesuffix("_loc") for n, _ in net.named_parameters() if n.endswith("_loc")]


class TestSelection:
    @pytest.mark.parametrize(
        ("include", "exclude", "expected"),
        [
            (None, None, ALL),
            ("head.*", None, ALL[6:]),
            ("head", None, ALL[6:]),
            ("body", "*.bias", ["body.0.weight", "body.2.weight"]),
            (["head", "norm.weight"], None, ["norm.weight", "head.weight", "head.bias"]),
            (nn.LayerNorm, None, ALL[4:6]),
            (nn.Sequential, None, ALL[:4]),
            (None, nn.LayerNorm, ALL[:4] + ALL[6:]),
            (None, [nn.LayerNorm, "head"], ALL[:4]),
            (nn.Linear, lambda name, _: name.endswith("bias"), ["body.0.weight", "body.2.weight", "head.weight"]),
            (lambda _, module: getattr(module, "out_features", 0) == 2, None, ALL[6:]),
            ("body.[0-1].*", None, ALL[:2]),
        ],
    )
    def test_what_is_chosen(self, include, exclude, expected):
        net = pt.bayesianize(Net(), include=include, exclude=exclude)
        assert random_names(net) == expected
        assert net(torch.ones(3, 4)).shape == (3, 2)

    @pytest.mark.parametrize("argument", ["include", "exclude", "prior"])
    def test_a_pattern_that_matches_nothing(self, argument):
        value = {"heads": "pretrained"} if argument == "prior" else "heads"
        with pytest.raises(ValueError, match=rf"{argument}: 'heads' matches no parameter; there are body.0.weight, "):
            pt.bayesianize(Net(), **{argument: value})

    def test_a_type_that_matches_nothing(self):
        with pytest.raises(ValueError, match="include: .*Conv2d.* matches no parameter"):
            pt.bayesianize(Net(), include=nn.Conv2d)
        with pytest.raises(ValueError, match="estimator: .*Conv2d.* matches no parameter"):
            pt.bayesianize(Net(), estimator={nn.Conv2d: "flipout"})

    @pytest.mark.parametrize("wrong", [3, [None], torch.zeros(1), dict])
    def test_what_is_no_selector(self, wrong):
        with pytest.raises(TypeError, match="include takes name patterns, layer types and functions"):
            pt.bayesianize(Net(), include=wrong)


class TestMappings:
    def test_priors_by_pattern_first_match_first(self):
        net = pt.bayesianize(Net(), prior={"head.bias": dist.Laplace(0.0, 3.0), "head": dist.Normal(0.0, 2.0)})
        assert net.head.bias_prior_scale == 3
        assert net.head.weight_prior_scale == 2
        assert net.norm._random["weight"].prior == pt.bayesianize(Net()).norm._random["weight"].prior

    def test_estimators_by_type(self):
        net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(4, 3), nn.LayerNorm(3))
        net = pt.bayesianize(net, estimator={nn.Conv1d: "flipout", nn.Linear: "local"})
        assert [getattr(m, "_estimator", None) for m in net] == ["flipout", None, "local", "reparam"]
        assert net(torch.randn(2, 1, 4)).shape == (2, 3)

    def test_an_estimator_for_all_must_exist_for_all(self):
        with pytest.raises(ValueError, match=r"'local' does not exist for Conv1d.*Use 'reparam' or 'flipout'"):
            pt.bayesianize(nn.Sequential(nn.Linear(2, 2), nn.Conv1d(1, 2, 3)), estimator="local")
        with pytest.raises(ValueError, match=r"'flipout' does not exist for LayerNorm\. Use 'reparam'"):
            pt.bayesianize(Net(), estimator="flipout")
        assert pt.bayesianize(Net(), exclude="norm", estimator="flipout")(torch.ones(2, 4)).shape == (2, 2)

    def test_a_layer_with_its_own_forward_has_reparam_only(self):
        with pytest.raises(ValueError, match="'flipout' does not exist for OwnForward"):
            pt.bayesianize(zoo.OwnForward(8, 3), estimator="flipout")

    def test_layers_to_a_bayesian_class(self):
        class Doubled(bnn.Linear):
            def forward(self, x):
                return 2 * super().forward(x)

        net, x = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), torch.randn(4, 3)
        converted = silence(pt.bayesianize(net, layers={nn.Linear: Doubled}).eval())
        assert type(converted[0]) is Doubled
        torch.testing.assert_close(converted[0](x), 2 * net[0](x))

    @pytest.mark.parametrize("inplace", [True, False])
    def test_layers_to_a_function(self, inplace):
        made = []

        def low_rank(layer):
            made.append(layer)
            return nn.Sequential(nn.Linear(layer.in_features, 1), nn.Linear(1, layer.out_features))

        net = Net()
        converted = pt.bayesianize(net, layers={nn.Linear: low_rank}, inplace=inplace)
        assert (converted is net) == inplace
        assert len(made) == 3
        assert all(type(m) is nn.Sequential for m in (converted.head, converted.body[0], converted.body[2]))
        assert random_names(converted) == ["norm.weight", "norm.bias"]
        assert converted(torch.ones(2, 4)).shape == (2, 2)

    def test_a_function_replaces_a_module_with_all_that_is_below_it(self):
        net = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2), "body": nn.Sequential(nn.Linear(3, 3))})
        replaced = pt.bayesianize(
            net, layers={nn.MultiheadAttention: lambda m: nn.Identity(), nn.Sequential: lambda m: bnn.Linear(3, 3)}
        )
        assert type(replaced["attention"]) is nn.Identity
        assert type(replaced["body"]) is bnn.Linear

    def test_a_shared_module_is_replaced_everywhere(self):
        net = pt.bayesianize(zoo.tied_modules(), layers={nn.Linear: lambda m: nn.Identity()})
        assert net[0] is net[2]
        assert type(net[0]) is nn.Identity

    def test_the_network_itself_can_be_replaced(self):
        assert type(pt.bayesianize(nn.Linear(2, 2), layers={nn.Linear: lambda m: bnn.Linear(2, 2)})) is bnn.Linear

    def test_layers_that_are_none(self):
        with pytest.raises(ValueError, match=r"layers: no module is exactly of type .*Linear.*; there are NoForward"):
            pt.bayesianize(zoo.NoForward(8, 3), layers={nn.Linear: bnn.Linear})
        for wrong in (3, nn.Bilinear, bnn.Conv1d):
            with pytest.raises(TypeError, match=r"layers: Linear needs a subclass of it that is a .*RandomModule"):
                pt.bayesianize(nn.Linear(2, 2), layers={nn.Linear: wrong})
        with pytest.raises(TypeError, match="layers: the function for Linear returned int, not a module"):
            pt.bayesianize(nn.Sequential(nn.Linear(2, 2)), layers={nn.Linear: lambda m: 3})


class TestPretrainedPrior:
    def test_an_untrained_network_is_warned_of(self):
        with pytest.warns(UserWarning, match="prior='pretrained' holds a network near its present weights"):
            pt.bayesianize(Net(), prior="pretrained")

    @pytest.mark.filterwarnings("error")
    def test_a_trained_network_is_not(self):
        net = Net()
        with torch.no_grad():
            net.body[2].weight[0, 0] = 3.0
        pt.bayesianize(net, prior="pretrained")
        pt.bayesianize(Net())


class TestTwice:
    def test_it_is_harmless(self):
        once = pt.bayesianize(Net())
        with torch.no_grad():
            once.head.weight_rho.add_(1.0)
        twice = pt.bayesianize(once)
        assert list(twice.state_dict()) == list(once.state_dict())
        assert all(torch.equal(twice.state_dict()[k], v) for k, v in once.state_dict().items())

    def test_a_second_call_can_take_in_more(self):
        net = pt.bayesianize(pt.bayesianize(Net(), include="head"), include="norm")
        assert random_names(net) == ALL[4:]
        assert len({id(m) for m in net.modules()}) == len(list(Net().modules()))
        x = torch.ones(2, 4)
        assert not torch.equal(net(x), net(x))

    def test_a_network_of_bayesian_layers_becomes_one_function_per_forward(self):
        layer = bnn.Linear(3, 3)
        net = pt.bayesianize(nn.ModuleList([layer]))
        assert isinstance(net, bnn.RandomModule)


class TestDryRun:
    def test_it_prints_what_becomes_of_every_parameter_and_changes_nothing(self, capsys):
        net = Net()
        net.norm.requires_grad_(False)
        keys = list(net.state_dict())
        kept = pt.bayesianize(
            net, exclude="head.bias", prior=dist.Normal(0.0, 1.0), posterior=bnn.Delta(), dry_run=True, inplace=True
        )
        assert kept is net
        assert list(net.state_dict()) == keys
        table = " ".join(capsys.readouterr().out.split())
        for word in ("body.0.weight", "4x4", "LayerNorm", "Delta()", "Normal", "reparam", "kept", "frozen"):
            assert word in table

    def test_it_knows_what_is_random_already(self, capsys):
        pt.bayesianize(pt.bayesianize(nn.Linear(2, 2), include="weight"), dry_run=True)
        assert "random already" in " ".join(capsys.readouterr().out.split())

    def test_it_refuses_what_the_call_would_refuse(self):
        with pytest.raises(ValueError, match="matches no parameter"):
            pt.bayesianize(Net(), include="x", dry_run=True)


class TestRefusals:
    @pytest.mark.parametrize("model", [3, None, Net, {"a": 1}])
    def test_what_is_no_module(self, model):
        with pytest.raises(TypeError, match="bayesianize: model must be a torch.nn.Module, got"):
            pt.bayesianize(model)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_scripted_module(self):
        with pytest.raises(TypeError, match="convert it before torch.jit.script"):
            pt.bayesianize(torch.jit.script(nn.Linear(2, 2)))

    def test_no_parameters(self):
        with pytest.raises(ValueError, match="bayesianize: ReLU has no parameters"):
            pt.bayesianize(nn.ReLU())

    def test_nothing_left_to_convert(self):
        with pytest.raises(ValueError, match="nothing to convert among 8 parameters; include and exclude leave none"):
            pt.bayesianize(Net(), exclude="*")
        with pytest.raises(ValueError, match=r"nothing to convert among 8 parameters; 8 of them are frozen"):
            pt.bayesianize(Net().requires_grad_(False))

    @pytest.mark.parametrize("chosen", [{"include": "head"}, {"exclude": "embedding"}])
    def test_tied_parameters_chosen_apart(self, chosen):
        with pytest.raises(ValueError, match=r"embedding.weight and head.weight are the same parameter; include both"):
            pt.bayesianize(zoo.TiedWeights(), **chosen)

    def test_tied_parameters_drawn_in_two_ways(self):
        with pytest.raises(ValueError, match="need the same estimator, got 'reparam' and 'flipout'"):
            pt.bayesianize(zoo.TiedWeights(), estimator={nn.Linear: "flipout"})

    @pytest.mark.parametrize(
        ("keyword", "wrong", "message"),
        [
            ("posterior", "normal", "posterior must be a posterity.nn.Posterior"),
            ("prior", 1.0, "prior must be a distribution"),
            ("prior", {"*": 1.0}, "prior must be a distribution"),
            ("estimator", 3, "estimator must be a name, or a mapping from layer types"),
        ],
    )
    def test_wrong_types(self, keyword, wrong, message):
        with pytest.raises(TypeError, match=message):
            pt.bayesianize(Net(), **{keyword: wrong})

    def test_an_unknown_estimator(self):
        with pytest.raises(ValueError, match="estimator must be one of 'reparam', 'flipout', 'local', got 'x'"):
            pt.bayesianize(Net(), estimator="x")

    def test_a_prior_that_does_not_fit(self):
        with pytest.raises(ValueError, match=r"batch shape \[7\], which does not broadcast to the parameter's shape"):
            pt.bayesianize(Net(), prior=torch.distributions.Normal(torch.zeros(7), 1.0))

    def test_a_lazy_layer_that_saw_no_data(self):
        with pytest.raises(ValueError, match="has no shape yet; run one batch through the network first"):
            pt.bayesianize(nn.LazyLinear(3))

    def test_complex_parameters(self):
        with pytest.raises(TypeError, match="weight is torch.complex64; exclude it"):
            pt.bayesianize(nn.Linear(2, 2, dtype=torch.complex64))

    def test_names_that_are_taken(self):
        class Taken(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.a_loc = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

        with pytest.raises(ValueError, match="a would be stored as a_loc, which its module has already"):
            pt.bayesianize(Taken())

    def test_a_refused_call_changes_nothing(self):
        net = nn.Sequential(nn.Linear(2, 2), nn.Conv1d(1, 2, 3))
        with pytest.raises(ValueError, match="does not exist"):
            pt.bayesianize(net, estimator="local", inplace=True)
        assert [type(m) for m in net] == [nn.Linear, nn.Conv1d]


def test_inplace_changes_the_network_itself():
    net = Net()
    assert pt.bayesianize(net, inplace=True) is net
    assert isinstance(net, bnn.RandomModule)
    assert pt.bayesianize(Net()) is not net


class TestSecondThoughts:
    def test_a_second_call_says_that_it_changes_nothing(self):
        net = pt.bayesianize(nn.Linear(3, 2))
        with pytest.warns(UserWarning, match="is Bayesian already and stays as it is"):
            assert pt.bayesianize(net, prior=bnn.FanIn(1.0)) is net

    def test_estimators_go_by_layer_type(self):
        with pytest.raises(TypeError, match="the keys must be layer types such as nn.Linear, got '0'"):
            pt.bayesianize(nn.Sequential(nn.Linear(3, 2)), estimator={"0": "local"})
        with pytest.raises(ValueError, match="no layer of this type has parameters of its own"):
            pt.bayesianize(nn.Sequential(nn.Linear(3, 2)), estimator={nn.Sequential: "local"})

    def test_a_refused_conversion_in_place_leaves_the_network_alone(self):
        net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
        normal = torch.distributions.Normal
        priors = {"0.*": normal(0.0, 1.0), "1.*": normal(torch.zeros(7), 1.0)}
        with pytest.raises(ValueError, match="does not broadcast"):
            pt.bayesianize(net, prior=priors, inplace=True)
        assert set(net.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}

    def test_sparse_gradients(self):
        with pytest.raises(ValueError, match="weight has sparse gradients; use sparse=False, or exclude it"):
            pt.bayesianize(nn.Embedding(4, 3, sparse=True))

    def test_an_unfit_posterior_is_refused_before_any_change(self):
        class Laplace(bnn.MeanFieldNormal):
            def moments(self, tensors):
                return None

        net = nn.Sequential(nn.Linear(3, 2))
        with pytest.raises(ValueError, match="needs a factorised normal posterior, and '0.weight' has"):
            pt.bayesianize(net, posterior=Laplace(), estimator="local", inplace=True)
        assert set(net.state_dict()) == {"0.weight", "0.bias"}
