"""What objectives made of importance weights share: a weight for each draw, or for each draw and element of a plate."""

import torch
from torch import Tensor

from posterity.handlers import Trace
from posterity.infer.enumeration import enumerated_log_density
from posterity.infer.objective import Objective
from posterity.infer.simulation import Pair, is_enumerated, is_scored
from posterity.ppl import Frame, Site


class WeightedObjective(Objective):
    """An objective whose weights are those of draws, or of each element of a plate of independent data.

    Args:
        num_particles: How many independent draws from the guide one estimate takes.
        vectorized: Whether they are computed at once by `torch.vmap`, rather than one after the other.
        plate: The plate's name; None: a draw has one weight.

    Raises:
        TypeError: `plate` is no name.
        ValueError: `num_particles` is no whole number of at least 1; at an estimate, a site stands outside of the
            plate, or is marked to be summed out inside of it.
    """

    def __init__(self, num_particles: int, vectorized: bool, plate: str | None) -> None:
        super().__init__(num_particles, vectorized=vectorized)
        if plate is not None and not isinstance(plate, str):
            raise TypeError(f"plate of {type(self).__name__} must be the name of a plate, not {plate!r}")
        self.plate = plate
        # How many elements of the plate each one that a run sees stands for.
        self._share = 1.0

    def log_model(self, recorded: Trace) -> Tensor:
        """The log density of a run of the model, a scalar, or `[size]` for each element, not scaled up."""
        if self.plate is None:
            return enumerated_log_density(recorded)
        frame = _frame(next(recorded.samples()), self.plate)
        self._share = frame.full_size / frame.size
        return self.log_guide(recorded)

    def log_guide(self, recorded: Trace) -> Tensor:
        """The log density of a run of the guide, likewise."""
        if self.plate is None:
            return recorded.log_prob_sum()
        total = torch.zeros(())
        for site in recorded.samples():
            frame = _frame(site, self.plate)
            total = total + _by_element(recorded.log_prob(site) * (frame.size / frame.full_size), frame)
        return total

    def log_joint(self, pair: Pair, recorded: Trace) -> Tensor:
        """The model's log density with the latent values of a guide's trace, likewise."""
        if self.plate is None:
            return super().log_joint(pair, recorded)
        return self.log_model(pair.replayed_model(recorded))

    def score(self, recorded: Trace, log_weight: Tensor) -> Tensor:
        """The log density of what a guide drew without a gradient, of the weight's shape, without any scale or mask."""
        found = torch.zeros_like(log_weight)
        for site in (site for site in recorded.samples() if is_scored(site)):
            log_prob = site.log_prob()
            found = found + (log_prob.sum() if self.plate is None else _by_element(log_prob, _frame(site, self.plate)))
        return found

    def total(self, values: Tensor) -> Tensor:
        """The sum of all values, that of a subsample scaled up."""
        return values.sum() * self._share


def _by_element(value: Tensor, frame: Frame) -> Tensor:
    others = [dim for dim in range(-value.dim(), 0) if dim != frame.dim]
    return value.sum(others) if others else value


def _frame(site: Site, plate: str) -> Frame:
    frame = next((f for f in site.plates if f.name == plate and f.vectorized), None)
    if frame is None:
        raise ValueError(
            f"site {site.name!r} does not stand in plate {plate!r}, whose elements are therefore not independent: an "
            f"objective with plate={plate!r} needs every site inside of it, as a batch dimension"
        )
    if site.is_latent and is_enumerated(site):
        raise ValueError(
            f"site {site.name!r} is marked to be summed out, which an objective with plate={plate!r} does not do: "
            "leave the mark away, or the plate"
        )
    return frame
