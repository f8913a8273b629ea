import pytest
import torch

from posterity.infer.stochastic_gradient import SGLD, CyclicalSGLD


def test_large_steps_are_without_noise_and_the_rest_is_sgld():
    kernel = CyclicalSGLD(step_size=0.1, cycle_length=10, exploration=0.3, temperature=0.5)
    assert [kernel.keeps(t) for t in range(20)] == 2 * (3 * [False] + 7 * [True])
    assert [kernel.temperature(t) for t in range(10)] == 3 * [0.0] + 7 * [0.5]
    assert kernel.step_size(10) == 0.1
    plain = SGLD(step_size=0.1)
    start, noise = torch.ones(2, 3), torch.ones(2, 1, 3)
    ours, _ = kernel.step(kernel.init(start), torch.neg, noise, 0.1, 0.5)
    theirs, _ = plain.step(plain.init(start), torch.neg, noise, 0.1, 0.5)
    assert torch.equal(ours.position, theirs.position)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cycle_length": 0}, "CyclicalSGLD: cycle_length must be a whole number of at least 1, not 0"),
        ({"exploration": 1.0}, "CyclicalSGLD: exploration must lie above 0 and below 1, not 1.0"),
        ({"exploration": 0.95}, "all 10 steps of a cycle explore: make exploration=0.95 less"),
        ({"step_size": 0.0}, "CyclicalSGLD: step_size must be positive"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CyclicalSGLD(**{"step_size": 0.1, "cycle_length": 10, **options})
