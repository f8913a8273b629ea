"""NUTS in four libraries, warmed up and ready to draw: what `benchmarks.mcmc` measures.

All have target acceptance 0.8, a tree depth of at most 10, a diagonal metric and their own warm-up. The peers' loops
are as lean as they get: JAX's are compiled ahead of time, without what the drivers add to them.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import posterity as pt
from benchmarks import posteriors
from benchmarks.posteriors import Posterior
from posterity.infer.mcmc.native_trajectories import NativeTrajectories
from posterity.kernels import Key


class Running(NamedTuple):
    """Chains that have been warmed up.

    Attributes:
        setup: Processor seconds before it, with those of compiling, also in processes of its own.
        warmup: Processor seconds.
        num_draws: How many draws of each chain `advance` makes.
        advance: Makes them, and returns them with what is known of them.
        read: Of that, the number of leapfrogs of all chains, and the draws on unconstrained space,
            `[num_chains, num_draws, dim]`. What is done elementwise and monotonically leaves a bulk effective sample
            size as it is.
    """

    setup: float
    warmup: float
    num_draws: int
    advance: Callable[[], Any]
    read: Callable[[Any], tuple[int, Tensor]]


def ours(posterior: Posterior, num_chains: int, num_warmup: int, num_draws: int) -> Running:
    """What `MCMC.run` does with `compile=True`, without its keeping of draws."""
    model, data = posterior.model(posteriors.ours())
    clock = _Clock()
    kernel = pt.infer.NUTS(model)
    potential = kernel.potential(data, {}, Key(0))
    point = potential.initial_points(num_chains, init=kernel.start, source=Key(0))
    keys = Key(0).fold_in(torch.arange(num_chains))
    engine = NativeTrajectories(kernel, potential, keys, point)
    if engine.reason:
        print(f"ours is not evaluated natively: {engine.reason}")
    adaptation = kernel.adaptation(engine.target, point, num_warmup, keys.fold_in(-1))
    state = engine.init(adaptation.metric, point)
    setup = clock.lap()

    def report(advance: float, known: Mapping[str, Tensor]) -> None:
        pass

    state, _ = engine.warm_up(adaptation, state, 0, num_warmup, report)
    point = engine.point(adaptation.metric, state)
    if adaptation.finish():
        state = engine.init(adaptation.metric, point)
    made = num_warmup

    def advance() -> Any:
        nonlocal state, made
        state, block = engine.sample(adaptation, state, made, num_draws, report)
        made += num_draws
        return block

    def read(block: Any) -> tuple[int, Tensor]:
        return int(block.info["num_steps"].sum()), block.draws["position"]

    return Running(setup, clock.lap(), num_draws, advance, read)


def numpyro(posterior: Posterior, num_chains: int, num_warmup: int, num_draws: int) -> Running:
    """Its kernel in a compiled loop: of several chains `chain_method="vectorized"`."""
    import jax
    import numpyro

    model, data = posterior.model(posteriors.numpyro())
    clock = _Clock()
    kernel = numpyro.infer.NUTS(model)
    key = jax.random.PRNGKey(0)
    state = kernel.init(jax.random.split(key, num_chains) if num_chains > 1 else key, num_warmup, None, data, {})

    def transition(state: Any, _: Any) -> tuple[Any, Any]:
        state = kernel.sample(state, data, {})
        return state, (state.z, state.num_steps)

    warm_up = _compiled(lambda state: jax.lax.scan(lambda s, _: (transition(s, _)[0], None), state, length=num_warmup))
    sample = _compiled(lambda state: jax.lax.scan(transition, state, length=num_draws))
    warm_up, sample = warm_up(state), sample(state)
    setup = clock.lap()
    state = jax.block_until_ready(warm_up(state)[0])

    def advance() -> Any:
        nonlocal state
        state, made = jax.block_until_ready(sample(state))
        return made

    def read(made: Any) -> tuple[int, Tensor]:
        z, num_steps = made
        flat = [np.asarray(value).reshape(num_draws, num_chains, -1) for value in z.values()]
        return int(num_steps.sum()), torch.from_numpy(np.concatenate(flat, -1)).transpose(0, 1)

    return Running(setup, clock.lap(), num_draws, advance, read)


def blackjax(posterior: Posterior, num_chains: int, num_warmup: int, num_draws: int) -> Running:
    """On a log density written by hand; of several chains its functions under `vmap`."""
    import jax
    import jax.numpy as jnp
    from blackjax import nuts, window_adaptation
    from blackjax.adaptation.base import get_filter_adapt_info_fn

    data = tuple(map(jnp.asarray, posterior.data))
    clock = _Clock()

    def log_density(z: Any) -> Any:
        return posterior.log_density(jnp, *data, z)

    adaptation = window_adaptation(
        nuts, log_density, target_acceptance_rate=0.8, adaptation_info_fn=get_filter_adapt_info_fn()
    )
    kernel = nuts.build_kernel()

    def warm_up(key: Any, position: Any) -> Any:
        (state, tuned), _ = adaptation.run(key, position, num_warmup)
        return state, tuned["step_size"], tuned["inverse_mass_matrix"]

    def step(key: Any, state: Any, step_size: Any, inverse_mass_matrix: Any) -> Any:
        state, info = kernel(key, state, log_density, step_size, inverse_mass_matrix)
        return state, info.num_integration_steps

    mapped = jax.vmap if num_chains > 1 else lambda function: function
    lead = (num_chains,) if num_chains > 1 else ()

    def sample(key: Any, state: Any, *tuned: Any) -> Any:
        def transition(state: Any, key: Any) -> tuple[Any, Any]:
            own = jax.random.split(key, num_chains) if num_chains > 1 else key
            state, num_steps = mapped(step)(own, state, *tuned)
            return state, (state.position, num_steps)

        return jax.lax.scan(transition, state, jax.random.split(key, num_draws))

    key = jax.random.PRNGKey(0)
    keys = jax.random.split(key, num_chains) if num_chains > 1 else key
    position = jax.random.uniform(key, (*lead, posterior.dim), minval=-2.0, maxval=2.0)
    warm = _compiled(mapped(warm_up))(keys, position)
    shapes = jax.eval_shape(mapped(warm_up), keys, position)
    drawing = _compiled(sample)(key, *shapes)
    setup = clock.lap()
    state, *tuned = jax.block_until_ready(warm(keys, position))

    def advance() -> Any:
        nonlocal state, key
        key, own = jax.random.split(key)
        state, made = jax.block_until_ready(drawing(own, state, *tuned))
        return made

    def read(made: Any) -> tuple[int, Tensor]:
        draws, num_steps = made
        draws = np.array(draws).reshape(num_draws, num_chains, -1)
        return int(num_steps.sum()), torch.from_numpy(draws).transpose(0, 1)

    return Running(setup, clock.lap(), num_draws, advance, read)


def pyro(posterior: Posterior, num_chains: int, num_warmup: int, num_draws: int) -> Running:
    """One chain: its others are processes, with a core each. Its log density is compiled by `torch.jit`."""
    import pyro

    assert num_chains == 1
    model, data = posterior.model(posteriors.pyro())
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    clock = _Clock()
    kernel = pyro.infer.NUTS(model, jit_compile=True, ignore_jit_warnings=True)
    kernel.setup(num_warmup, *data)
    params = kernel.initial_params
    num_leapfrogs, potential = 0, kernel.potential_fn

    def counting(z: Any) -> Any:
        nonlocal num_leapfrogs
        num_leapfrogs += 1
        return potential(z)

    kernel.potential_fn = counting
    setup = clock.lap()
    for _ in range(num_warmup):
        params = kernel.sample(params)
    kernel.end_warmup()

    def advance() -> Any:
        nonlocal params, num_leapfrogs
        num_leapfrogs, draws = 0, []
        for _ in range(num_draws):
            params = kernel.sample(params)
            draws.append(params)
        return num_leapfrogs, draws

    def read(made: Any) -> tuple[int, Tensor]:
        number, draws = made
        return number, torch.stack([torch.cat([v.flatten() for v in draw.values()]) for draw in draws]).unsqueeze(0)

    return Running(setup, clock.lap(), num_draws, advance, read)


def processor_seconds() -> float:
    """Of this process, and of those that it has started and that have ended."""
    return sum(os.times()[:4])


class _Clock:
    def __init__(self) -> None:
        self._began = processor_seconds()

    def lap(self) -> float:
        """Processor seconds since the last lap."""
        before, self._began = self._began, processor_seconds()
        return self._began - before


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Takes example arguments, and returns the function compiled for them."""
    import jax

    return lambda *example: jax.jit(function).lower(*example).compile()
