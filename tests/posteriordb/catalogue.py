"""posteriordb's posteriors as programs: how each takes the data of its file, and what it calls the parameters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from tests.posteriordb import (
    autoregression,
    eight_schools,
    garch,
    gaussian_process,
    hidden_markov,
    lotka_volterra,
    mixture,
    regressions,
)

Draws = Mapping[str, Tensor]


class Posterior(NamedTuple):
    """A posterior of the collection.

    Attributes:
        program: The model, to be run under float64 as torch's default dtype.
        arguments: From the `data` of the file to the program's arguments.
        quantities: From draws of the program's latent sites, by name `[..., *shape]`, to draws of the reference's
            scalars and vectors.
    """

    program: Callable[..., None]
    arguments: Callable[[dict[str, Any]], tuple[Tensor, ...]]
    quantities: Callable[[Draws], Draws] = dict

    def parameters(self, draws: Draws, names: Iterable[str]) -> dict[str, Tensor]:
        """Draws of the reference's parameters.

        Args:
            draws: Of the program's sites, by name `[..., *shape]`.
            names: The parameters, such as `sigma` or `beta[1]`.

        Returns:
            By parameter, `[...]`.
        """
        quantities = self.quantities(draws)
        return {name: _entry(quantities, name) for name in names}


def _entry(quantities: Draws, name: str) -> Tensor:
    quantity, _, index = name.removesuffix("]").partition("[")
    return quantities[quantity][..., int(index) - 1] if index else quantities[quantity]


POSTERIORS = {
    "arK-arK": Posterior(autoregression.program, autoregression.windows),
    "bball_drive_event_0-hmm_drive_0": Posterior(hidden_markov.drive, hidden_markov.drive_series),
    "diamonds-diamonds": Posterior(regressions.centred, regressions.diamonds),
    "earnings-earn_height": Posterior(regressions.flat, regressions.earn_height),
    "earnings-logearn_height": Posterior(regressions.flat, regressions.logearn_height),
    "earnings-logearn_height_male": Posterior(regressions.flat, regressions.logearn_height_male),
    "earnings-logearn_interaction": Posterior(regressions.flat, regressions.logearn_interaction),
    "earnings-logearn_logheight_male": Posterior(regressions.flat, regressions.logearn_logheight_male),
    "eight_schools-eight_schools_centered": Posterior(eight_schools.centered, eight_schools.schools),
    "eight_schools-eight_schools_noncentered": Posterior(
        eight_schools.noncentered, eight_schools.schools, eight_schools.with_theta
    ),
    "garch-garch11": Posterior(garch.program, garch.series, garch.triangle),
    "gp_pois_regr-gp_regr": Posterior(gaussian_process.program, gaussian_process.points),
    "hmm_example-hmm_example": Posterior(hidden_markov.normal, hidden_markov.normal_series),
    "hudson_lynx_hare-lotka_volterra": Posterior(lotka_volterra.program, lotka_volterra.counts),
    "kidiq-kidscore_momhs": Posterior(regressions.half_cauchy, regressions.kidscore_momhs),
    "kidiq-kidscore_momhsiq": Posterior(regressions.half_cauchy, regressions.kidscore_momhsiq),
    "kidiq-kidscore_momiq": Posterior(regressions.half_cauchy, regressions.kidscore_momiq),
    "kidiq_with_mom_work-kidscore_interaction_c": Posterior(regressions.flat, regressions.kidscore_interaction_c),
    "kidiq_with_mom_work-kidscore_mom_work": Posterior(regressions.flat, regressions.kidscore_mom_work),
    "low_dim_gauss_mix-low_dim_gauss_mix": Posterior(mixture.program, mixture.observations),
    "mesquite-logmesquite": Posterior(regressions.flat, regressions.logmesquite),
    "mesquite-logmesquite_logva": Posterior(regressions.flat, regressions.logmesquite_logva),
    "mesquite-logmesquite_logvas": Posterior(regressions.flat, regressions.logmesquite_logvas),
    "mesquite-mesquite": Posterior(regressions.flat, regressions.mesquite),
    "nes1976-nes": Posterior(regressions.flat, regressions.nes),
    "nes1980-nes": Posterior(regressions.flat, regressions.nes),
    "nes1984-nes": Posterior(regressions.flat, regressions.nes),
    "nes1992-nes": Posterior(regressions.flat, regressions.nes),
    "nes1996-nes": Posterior(regressions.flat, regressions.nes),
    "sblrc-blr": Posterior(regressions.normal, regressions.blr),
}
