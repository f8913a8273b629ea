"""Parameters of a guide, one for each site."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn


class SiteParameters(nn.Module):
    """One parameter for each site, under the site's name.

    Dots of a name are slashes in `state_dict`, where torch's modules have no room for them.

    Args:
        values: The first values by site name.

    Example:
        >>> parameters = SiteParameters({"net.weight": torch.zeros(2)})
        >>> list(parameters.state_dict()), parameters["net.weight"].shape
        (['net/weight'], torch.Size([2]))
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in values.items():
            # Beside torch's own check: a site may be called "type" or "half", as the module's methods are.
            self._parameters[_key(name)] = nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format))

    def __getitem__(self, name: str) -> Tensor:
        return cast(Tensor, self._parameters[_key(name)])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in self._parameters


def _key(name: str) -> str:
    return name.replace(".", "/")
