"""Products of reflections."""

import torch
from torch import Tensor

from posterity.bijectors import constraints
from posterity.bijectors.base import Bijector
from posterity.bijectors.parameters import holds
from posterity.bijectors.scale_matvec import require_floating, require_length


class Householder(Bijector):
    r"""y = H_m ... H_1 x with the reflections $H_k = I - 2 v_k v_k^T / \|v_k\|^2$.

    n reflections reach every orthogonal n x n matrix whose determinant is (-1)^n. Log-dets are 0. (Tomczak and
    Welling 2016, "Improving Variational Auto-Encoders using Householder Flow", eq. 7.)

    Args:
        vectors: `[*batch, m, n]`, the v_k; none of them 0.

    Raises:
        TypeError: `vectors` is not a real floating tensor.
        ValueError: It has less than two dimensions, or a vector is 0.

    Example:
        >>> import torch
        >>> from posterity.bijectors import Householder
        >>> Householder(torch.tensor([[1.0, 0.0]]))(torch.tensor([3.0, 4.0]))
        tensor([-3.,  4.])
    """

    domain = codomain = constraints.real_vector

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        require_floating("Householder", "vectors", vectors)
        if vectors.dim() < 2:
            raise ValueError(f"vectors of Householder must have the shape [*batch, m, n], not {tuple(vectors.shape)}.")
        if not holds((vectors != 0).any(-1)):
            raise ValueError("vectors of Householder must not be 0: there is no reflection along no direction.")
        self.vectors = vectors

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of `vectors` but for its last two dimensions."""
        return self.vectors.shape[:-2]

    def _forward(self, x: Tensor) -> Tensor:
        units = torch.nn.functional.normalize(self.vectors, dim=-1, eps=0.0)
        for k in range(units.shape[-2]):
            x = _reflected(units[..., k, :], x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        units = torch.nn.functional.normalize(self.vectors, dim=-1, eps=0.0)
        for k in reversed(range(units.shape[-2])):
            y = _reflected(units[..., k, :], y)
        return y

    def _forward_log_det(self, x: Tensor) -> Tensor:
        return x.new_zeros(torch.broadcast_shapes(x.shape[:-1], self.batch_shape))

    def _inverse_log_det(self, y: Tensor) -> Tensor:
        return self._forward_log_det(y)

    def _forward_event_shape(self, shape: torch.Size) -> torch.Size:
        return require_length("Householder", shape, self.vectors.shape[-1])

    _inverse_event_shape = _forward_event_shape


def _reflected(unit: Tensor, x: Tensor) -> Tensor:
    return x - 2 * (unit * x).sum(-1, keepdim=True) * unit
