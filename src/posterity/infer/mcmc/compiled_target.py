"""A target whose log density and gradient are one compiled graph."""

from torch import Tensor

from posterity.infer.mcmc.target import Target
from posterity.infer.replay import Replay


class CompiledTarget:
    """A target, compiled for points of one shape; others are evaluated as before.

    Args:
        target: What is compiled.
        example: Points `[num_chains, dim]`.

    Attributes:
        evaluation: The graph.

    Raises:
        CaptureError: The target's course depends on values.
    """

    def __init__(self, target: Target, example: Tensor) -> None:
        self._target = target
        point = example.detach().clone().contiguous()
        # make_fx counts the arguments of a function

        def evaluate(z: Tensor) -> tuple[Tensor, Tensor]:
            # Data of another type than the points make a log density of another type; native code reads one.
            value, gradient = target.value_and_grad(z)
            return value.to(z.dtype), gradient.to(z.dtype)

        self.evaluation = Replay(evaluate, [point], is_settled=True)

    @property
    def dim(self) -> int:
        """How many numbers a point has."""
        return self._target.dim

    def log_density(self, z: Tensor) -> Tensor:
        """The log density at points `[*batch, dim]`."""
        return self._target.log_density(z)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The log density and its gradient."""
        point = self.evaluation.inputs[0]
        if z.shape != point.shape or z.dtype != point.dtype:
            return self._target.value_and_grad(z)
        point.copy_(z)
        self.evaluation()
        value, gradient = self.evaluation.outputs
        return value.clone(), gradient.clone()
