"""Parameters of several ranks, and the pair of probabilities and log odds."""

import pytest
import torch

from posterity.distributions.parameters import BinaryProbability, broadcast_parameters, exactly_one


def test_only_the_dimensions_of_the_batch_broadcast():
    ranks = {"loc": 1, "tril": 2}
    loc, tril = broadcast_parameters("G", event_ranks=ranks, loc=torch.zeros(4, 1, 3), tril=torch.ones(2, 3, 3))
    assert (loc.shape, tril.shape) == ((4, 2, 3), (4, 2, 3, 3))
    with pytest.raises(
        ValueError, match=r"batch shapes of the parameters of G must broadcast.*loc \(4,\), tril \(2,\)"
    ):
        broadcast_parameters("G", event_ranks=ranks, loc=torch.zeros(4, 3), tril=torch.ones(2, 3, 3))
    with pytest.raises(ValueError, match=r"tril of G must have at least 2 dimensions, but its shape is \(3,\)"):
        broadcast_parameters("G", event_ranks=ranks, loc=torch.zeros(3), tril=torch.ones(3))


def test_one_of_two_is_given():
    assert exactly_one("B", probs=None, logits=0.5) == {"logits": 0.5}
    for probs, logits in ((None, None), (0.5, 0.5)):
        with pytest.raises(ValueError, match="B takes either probs or logits: give exactly one of them"):
            exactly_one("B", probs=probs, logits=logits)


def test_log_odds_are_exact_where_torch_clamps():
    class Pair(BinaryProbability):
        pass

    pair = Pair()
    pair.probs = torch.tensor([0.0, 1e-30, 0.5, 1.0])
    assert pair.logits.tolist() == pytest.approx([-torch.inf, -69.0775528, 0.0, torch.inf])
    other = Pair()
    other.logits = torch.tensor([-200.0, 0.0])
    assert other.probs.tolist() == [0.0, 0.5]
