"""A target whose log density and gradient are one compiled graph."""

from torch import Tensor

from posterity.infer.mcmc.mixed_potential import MixedPotential
from posterity.infer.mcmc.target import Target
from posterity.infer.replay import Replay


class CompiledTarget:
    """A target, compiled for points of one shape; others are evaluated as before.

    Args:
        target: What is compiled.
        example: Points `[num_chains, dim]`.
        choices: Of a `MixedPotential`: what its discrete variables are, `[num_chains, num_choices]`. The graph takes
            them as its second input; the methods of a target go by these here.

    Attributes:
        evaluation: The graph.

    Raises:
        CaptureError: The target's course depends on values.
    """

    def __init__(self, target: Target, example: Tensor, choices: Tensor | None = None) -> None:
        self._target = target
        self._given = [] if choices is None else [choices]
        inputs = [part.detach().clone().contiguous() for part in (example, *self._given)]

        # make_fx counts the arguments of a function
        def evaluate(z: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
            own = target
            if given:
                assert isinstance(target, MixedPotential)
                own = target.given(*given)
            # Data of another type than the points make a log density of another type; native code reads one.
            value, gradient = own.value_and_grad(z)
            return value.to(z.dtype), gradient.to(z.dtype)

        self.evaluation = Replay(evaluate, inputs, is_settled=True)

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
        value, gradient = self.at(z, *self._given)
        return value.clone(), gradient.clone()

    def at(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The log density and its gradient for inputs of the graph; the next call overwrites them."""
        for static, value in zip(self.evaluation.inputs, inputs, strict=True):
            static.copy_(value)
        self.evaluation()
        value, gradient = self.evaluation.outputs
        return value, gradient
