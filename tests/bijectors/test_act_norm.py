"""ActNorm: the first batch in train mode sets it, once, and a loaded or copied one is not set again."""

import copy

import pytest
import torch

from posterity.bijectors import ActNorm

FIRST = 3 + 5 * torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SECOND = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _is_standard(values, dims=0):
    deviation, mean = torch.std_mean(values, dims, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)
    torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "first_call",
    [
        lambda norm, x: norm(x),
        lambda norm, x: norm.forward_log_det_jacobian(x),
        lambda norm, x: norm.forward_and_log_det(x),
    ],
)
def test_the_first_batch_leaves_forward_standardised(first_call):
    norm = ActNorm(3).double()
    first_call(norm, FIRST)
    _is_standard(norm(FIRST))


@pytest.mark.parametrize(
    "first_call",
    [
        lambda norm, y: norm.inverse(y),
        lambda norm, y: norm.inverse_log_det_jacobian(y),
        lambda norm, y: norm.inverse_and_log_det(y),
    ],
)
def test_the_first_batch_leaves_the_inverse_standardised(first_call):
    norm = ActNorm(3).double()
    first_call(norm, FIRST)
    _is_standard(norm.inverse(FIRST))


def test_channels_are_standardised_over_places():
    norm = ActNorm(3, dim=-3).double()
    images = FIRST.reshape(4, 4, 4, 3).movedim(-1, -3)
    _is_standard(norm(images), (0, 2, 3))
    torch.testing.assert_close(norm.forward_log_det_jacobian(images), (16 * norm.log_scale.sum()).expand(4))


def test_later_batches_change_nothing():
    norm = ActNorm(3).double()
    norm(FIRST)
    state = copy.deepcopy(norm.state_dict())
    norm(SECOND)
    norm.inverse(SECOND)
    assert all(torch.equal(value, state[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("way", ["state_dict", "deepcopy", "with_cache"])
def test_what_was_set_once_is_not_set_again_elsewhere(way):
    norm = ActNorm(3).double()
    norm(FIRST)
    if way == "state_dict":
        twin = ActNorm(3).double()
        twin.load_state_dict(norm.state_dict())
    else:
        twin = copy.deepcopy(norm) if way == "deepcopy" else norm.with_cache()
    assert twin.training
    torch.testing.assert_close(twin(SECOND), norm.eval()(SECOND), rtol=0, atol=0)


def test_an_untouched_state_is_set_by_data_after_loading():
    norm = ActNorm(3).double()
    norm(SECOND)
    norm.load_state_dict(ActNorm(3).double().state_dict())
    _is_standard(norm(FIRST))


def test_in_eval_mode_nothing_is_set():
    norm = ActNorm(3).double().eval()
    assert torch.equal(norm(FIRST), FIRST)
    assert not norm.initialized
    _is_standard(norm.train()(FIRST))
    assert norm.initialized


def test_its_parameters_are_trained_from_the_start():
    norm = ActNorm(3).double()
    norm(FIRST).square().sum().backward()
    assert all(parameter.grad is not None for parameter in norm.parameters())


def test_a_constant_feature_is_centred_only():
    norm = ActNorm(2)
    y = norm(torch.tensor([[0.1, 1.0], [0.1, 3.0], [0.1, 5.0]]))
    torch.testing.assert_close(y[:, 0], torch.zeros(3), rtol=0, atol=1e-6)
    assert norm.log_scale[0].item() == 0


def test_initialised_before_it_compiles_in_train_mode():
    norm = ActNorm(3).double()
    norm.initialize(FIRST)
    torch._dynamo.reset()
    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(SECOND), norm(SECOND))
    mapped = torch.vmap(norm)(SECOND)
    torch.testing.assert_close(mapped, norm(SECOND))


def test_what_cannot_set_it_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 3\): one value per feature has no variance"):
        ActNorm(3)(torch.zeros(1, 3))
    bad = FIRST.clone()
    bad[0, 0] = float("inf")
    with pytest.raises(ValueError, match="first batch of ActNorm must be finite"):
        ActNorm(3).double().initialize(bad)
    with pytest.raises(ValueError, match=r"events of shape \(2,\), but dimension -1 must be of size 3"):
        ActNorm(3)(torch.zeros(5, 2))
    with pytest.raises(ValueError, match="dim of ActNorm must be negative"):
        ActNorm(3, dim=1)
