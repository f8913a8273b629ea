"""Inductor takes expm1 for exp less 1, which has no digits near 0: graphs of counts hold none."""

import torch
from torch._dynamo.backends.common import aot_autograd

from posterity.distributions import Skellam, Zipf


def targets(function, *arguments):
    seen = []

    def collect(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch.compile(function, fullgraph=True, backend=aot_autograd(fw_compiler=collect, bw_compiler=collect))(*arguments)
    return seen


def test_zipf_and_skellam_graphs_hold_no_expm1():
    s = torch.tensor([1.001, 3.0])
    graph = targets(lambda s: Zipf(s, validate_args=False).cdf(torch.ones(2)), s)
    assert graph
    assert not any("expm1" in target for target in graph)

    def loss(rate):
        return Skellam(rate, torch.ones(2), validate_args=False).log_prob(torch.ones(2)).sum()

    graph = targets(lambda rate: torch.func.grad(loss)(rate), s)
    assert any("cos" in target for target in graph)
    assert not any("expm1" in target for target in graph)
