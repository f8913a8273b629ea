"""What a driver trains: the parameters of a program's networks, and its `param` statements.

They belong to the driver that runs the program. Nothing is global: two drivers never meet.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.distributions import constraints

from posterity.bijectors import bijector_to
from posterity.handlers import Trace
from posterity.ppl import Handler, Site
from posterity.ppl.module import trained_parameters


class Parameters(nn.Module):
    """The networks and `param` values of some programs, as one module and as the handler that serves them.

    Args:
        programs: Functions, modules, or methods of modules; the modules' parameters are among those trained.
    """

    def __init__(self, programs: Iterator[Callable[..., Any]]) -> None:
        super().__init__()
        self._owners = nn.ModuleList()
        self._names: dict[nn.Module, str] = {}
        # Of each `param`: its place among this module's parameters, and its constraint.
        self._places: dict[str, tuple[str, constraints.Constraint]] = {}
        for program in programs:
            owner = program if isinstance(program, nn.Module) else getattr(program, "__self__", None)
            if isinstance(owner, nn.Module):
                self._take(owner, "")
        self.frozen: set[nn.Parameter] = set()

    def forward(self, function: Callable[[], Any]) -> Any:
        """Call `function`, its `param` statements served by this object."""
        with _Serving(self):
            return function()

    def discover(self, *traces: Trace) -> None:
        """Take in the networks that a run used; those parameters of theirs that have a prior are not trained."""
        for site in (site for found in traces for site in found.values() if site.kind == "module"):
            trained = {parameter for _, parameter in trained_parameters(site)}
            self.frozen.update(p for p in site.value.parameters() if p not in trained)
            self.frozen.update(self._with_prior(site, traces))
            self._take(site.value, site.name)

    def trained(self) -> dict[str, nn.Parameter]:
        """What is trained, by names that users know: `net.0.weight`, or that of the `param` statement."""
        raw = {id(p): name for name, (place, _) in self._places.items() if (p := self._parameters[place]) is not None}
        found: dict[str, nn.Parameter] = {}
        for parameter in self.parameters():
            if parameter.requires_grad and parameter not in self.frozen:
                name = raw.get(id(parameter)) or self._name_of(parameter)
                found[name if name not in found else f"{name}'"] = parameter
        return found

    def values(self) -> dict[str, Tensor]:
        """What is trained, `param` values on their own spaces, without gradients."""
        constrained = {name: self.value(name).detach() for name in self._places}
        return {name: constrained.get(name, p.detach()) for name, p in self.trained().items()}

    def value(self, name: str) -> Tensor:
        """The value of a `param`, on its own space."""
        place, constraint = self._places[name]
        raw = cast(nn.Parameter, getattr(self, place))
        return raw if _is_real(constraint) else cast(Tensor, bijector_to(constraint)(raw))

    def serve(self, site: Site) -> None:
        """Give a `param` statement its value, the statement's own first one at the first time."""
        if site.name not in self._places:
            assert site.default is not None
            first = cast(Tensor, site.default(site)).detach()
            constraint = site.constraint or constraints.real
            raw = first if _is_real(constraint) else cast(Tensor, bijector_to(constraint).inv(first))
            place = f"param{len(self._places)}"
            self.register_parameter(place, nn.Parameter(raw.detach().clone()))
            self._places[site.name] = place, constraint
        site.value = self.value(site.name)

    def _take(self, owner: nn.Module, name: str) -> None:
        if owner not in self._names:
            self._names[owner] = name
            self._owners.append(owner)

    def _name_of(self, parameter: nn.Parameter) -> str:
        for owner, name in self._names.items():
            for key, candidate in owner.named_parameters():
                if candidate is parameter:
                    return f"{name}.{key}" if name else key
        raise KeyError("not a parameter of these programs")

    def _with_prior(self, site: Site, traces: tuple[Trace, ...]) -> Iterator[nn.Parameter]:
        for key, parameter in cast(nn.Module, site.value).named_parameters():
            drawn = (found.get(f"{site.name}.{key}") for found in traces)
            if any(s is not None and s.kind == "sample" for s in drawn):
                yield parameter


class _Serving(Handler):
    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        self.parameters = parameters

    def process_message(self, site: Site) -> None:
        if site.kind == "param" and site.value is None:
            self.parameters.serve(site)


def gradients_by_name(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The gradients that are there, by the parameters' names."""
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}


def _is_real(constraint: constraints.Constraint) -> bool:
    inner = constraint
    while isinstance(inner, constraints.independent):
        inner = inner.base_constraint
    return inner is constraints.real or inner is constraints.real_vector
