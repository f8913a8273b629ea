"""What the networks of this floor refuse alike: sizes that are none, flows that do not fit a code."""

from typing import Any

import torch

from posterity.bijectors import Bijector


def check_count(owner: str, name: str, value: Any) -> None:
    """Refuse what is no positive whole number.

    Raises:
        ValueError: naming the argument.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{owner}: {name} must be a whole number of at least 1, got {value!r}")


def check_flow(owner: str, name: str, flow: Bijector, latent_size: int, hidden_size: int | None) -> None:
    """Refuse a flow that does not take codes of a size, at the encoder's context or at none.

    Raises:
        ValueError: naming the argument.
    """
    context = getattr(flow, "context_features", 0)
    allowed = {0} if hidden_size is None else {0, hidden_size}
    if context not in allowed:
        raise ValueError(
            f"{owner}: the flow given as {name} takes contexts of size {context}, but must take "
            + ("none" if hidden_size is None else f"the encoder's {hidden_size} numbers, or none")
        )
    try:
        flow.forward_shape(torch.Size([1, latent_size]))
    except ValueError as error:
        raise ValueError(
            f"{owner}: the flow given as {name} does not take codes of size {latent_size}: {error}"
        ) from None
