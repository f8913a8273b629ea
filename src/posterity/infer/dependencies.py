"""Which terms of a density depend on which random choices: what Rao-Blackwellisation needs to know.

The run is captured as a graph of operations, in which a choice's descendants are looked up.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, fx

from posterity.infer.capture import CAPTURING
from posterity.kernels.noise_tape import Pools
from posterity.runtime import without_validation

Values = Mapping[str, Tensor]


def descendants(run: Callable[[Pools], tuple[Values, Values]], pools: Pools) -> dict[str, frozenset[str]] | None:
    """The terms that depend on each choice.

    Args:
        run: From noise to the choices' values and the terms, by name.
        pools: Noise for one run.

    Returns:
        For each choice the names of the terms that depend on its value; None where the run cannot be captured because
        its course depends on the values.

    Example:
        >>> import torch
        >>> def run(noise):
        ...     a, b = noise["a"] > 0, noise["b"] > 0
        ...     return {"a": a, "b": b}, {"first": a * 1.0, "both": a + 2.0 * b}
        >>> found = descendants(run, {"a": torch.ones(2), "b": torch.ones(2)})
        >>> sorted(found["a"]), sorted(found["b"])
        (['both', 'first'], ['both'])
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # half a second to import

    names: tuple[list[str], list[str]] = ([], [])

    def flat(pools: Pools) -> list[Tensor]:
        choices, terms = run(pools)
        names[0][:], names[1][:] = choices, terms
        # A choice must have a node of its own, not be somebody's input.
        return [*choices.values(), *terms.values()]

    try:
        with CAPTURING, without_validation():
            graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(dict(pools)).graph
    except Exception:  # whatever a program does with values that it cannot do without them
        return None
    output = next(node for node in graph.nodes if node.op == "output")
    nodes = list(output.args[0])
    choices, terms = nodes[: len(names[0])], nodes[len(names[0]) :]
    found = {}
    for name, choice in zip(names[0], choices, strict=True):
        reached = _reached(choice)
        found[name] = frozenset(t for t, node in zip(names[1], terms, strict=True) if node in reached)
    return found


def _reached(start: fx.Node) -> set[fx.Node]:
    reached, waiting = {start}, [start]
    while waiting:
        for user in waiting.pop().users:
            if user not in reached:
                reached.add(user)
                waiting.append(user)
    return reached
