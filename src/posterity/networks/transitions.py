"""The networks of a deep Markov model that describe one step of a path: of the model, and of its guide."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Scales stay above this: a step without noise has no density.
_LEAST_SCALE = 1e-4


class GatedTransition(nn.Module):
    """From a state to the next: a gate between a linear map, at first the identity, and a network's proposal.

    Args:
        latent_size: the width of a state.
        hidden_size: of the gate's and the proposal's hidden layers.

    Source: Krishnan, Shalit, Sontag (2017), "Structured inference networks for nonlinear state space models",
    section 5.

    Example:
        >>> loc, scale = GatedTransition(3, 8)(torch.zeros(5, 3))
        >>> loc.shape, scale.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    def __init__(self, latent_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(latent_size, 2 * hidden_size)
        self.gate = nn.Linear(hidden_size, latent_size)
        self.proposal = nn.Linear(hidden_size, latent_size)
        self.linear = nn.Linear(latent_size, latent_size)
        self.raw_scale = nn.Linear(latent_size, latent_size)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the next state, each of the shape of `state`."""
        for_gate, for_proposal = F.relu(self.hidden(state)).chunk(2, -1)
        gate, proposal = torch.sigmoid(self.gate(for_gate)), self.proposal(for_proposal)
        loc = torch.lerp(self.linear(state), proposal, gate)
        return loc, F.softplus(self.raw_scale(F.relu(proposal))) + _LEAST_SCALE


class Combiner(nn.Module):
    """From the state before and a summary of what is still to come to the state: a step of the guide.

    Args:
        latent_size: the width of a state.
        context_size: the width of the summary.

    Source: Krishnan, Shalit, Sontag (2017), section 4, the combiner function of DKS.

    Example:
        >>> loc, scale = Combiner(3, 8)(torch.zeros(3), torch.zeros(5, 8))
        >>> loc.shape, scale.shape
        (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    def __init__(self, latent_size: int, context_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(latent_size, context_size)
        self.parameters_of_state = nn.Linear(context_size, 2 * latent_size)

    def forward(self, state: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the state, over the shapes of `state` and `context` broadcast."""
        combined = 0.5 * (torch.tanh(self.hidden(state)) + context)
        loc, raw_scale = self.parameters_of_state(combined).chunk(2, -1)
        return loc, F.softplus(raw_scale) + _LEAST_SCALE
