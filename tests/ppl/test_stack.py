import asyncio
import threading

import pytest
import torch

import posterity as pt
from posterity.ppl import Handler
from posterity.ppl.stack import handlers, only_handlers, outside_programs

dist, handle = pt.distributions, pt.handlers


class Recorder(Handler):
    """Notes the order in which it sees sites."""

    def __init__(self, log, label, fn=None):
        super().__init__(fn)
        self.log, self.label = log, label

    def process_message(self, site):
        self.log.append(f"{self.label} in {site.name}")

    def postprocess_message(self, site):
        self.log.append(f"{self.label} out {site.name}")


def test_a_site_goes_from_the_innermost_handler_outwards_and_back_from_the_innermost():
    log = []
    with Recorder(log, "outer"), Recorder(log, "inner"):
        pt.deterministic("x", 1)
    assert log == ["inner in x", "outer in x", "outer out x", "inner out x"]


def test_a_stopped_site_is_not_seen_outside_and_still_returns():
    log = []
    with Recorder(log, "outer"), handle.block(), Recorder(log, "inner"):
        assert pt.deterministic("x", 3) == 3
    assert log == ["inner in x", "inner out x"]


def test_a_handler_without_a_program_decorates_one():
    @handle.condition(data={"x": 2.0})
    def model(shift):
        """Its docstring."""
        return pt.sample("x", dist.Normal(0.0, 1.0)) + shift

    assert model(1.0) == 3.0
    assert model.__name__ == "model"
    assert model.__doc__ == "Its docstring."
    assert handlers() == ()


def test_a_handler_around_a_program_is_called_with_its_arguments():
    conditioned = handle.condition(lambda a, *, b: pt.sample("x", dist.Normal(0.0, 1.0)) + a + b, data={"x": 2.0})
    assert conditioned(1.0, b=3.0) == 6.0


def test_a_handler_of_no_program_is_refused():
    with pytest.raises(TypeError, match="fn of trace must be a program to call, not Tensor"):
        handle.trace(torch.ones(2))
    with pytest.raises(TypeError, match="block was made without a program"):
        handle.block()(1, 2)


def test_a_program_that_fails_leaves_no_handler_behind():
    def model():
        with pt.plate("data", 3):
            pt.sample("x", dist.Normal(0.0, 1.0))
            raise ArithmeticError("mine")

    with pytest.raises(ArithmeticError, match="mine"):
        handle.trace(handle.seed(model, 0)).get_trace()
    assert handlers() == ()


def test_an_interrupt_leaves_no_handler_behind():
    def model():
        for _ in pt.plate("loop", 3):
            with handle.scale(scale=2.0):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        handle.trace(model).get_trace()
    assert handlers() == ()


def test_a_loop_that_is_left_early_leaves_no_plate_behind():
    for i in pt.plate("loop", 3):
        if i == 1:
            break
    assert handlers() == ()
    with handle.trace() as recorded:
        unfinished = iter(pt.plate("loop", 3))
        next(unfinished)
    assert handlers() == ()
    assert list(recorded.trace) == ["loop"]


def test_each_thread_has_a_stack_of_its_own():
    seen, barrier = {}, threading.Barrier(2)

    def run(value):
        with handle.condition(data={"x": value}), handle.trace() as recorded:
            barrier.wait()
            drawn = pt.sample("x", dist.Normal(0.0, 1.0))
            barrier.wait()
            seen[value] = (float(drawn), list(recorded.trace))

    with handle.block():
        threads = [threading.Thread(target=run, args=(value,)) for value in (1.0, 2.0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == {1.0: (1.0, ["x"]), 2.0: (2.0, ["x"])}


def test_one_plate_serves_two_threads_at_two_dimensions():
    shared, shapes, barrier = pt.plate("shared", 2), {}, threading.Barrier(2)

    def run(name, depth):
        with handle.trace() as recorded:
            if depth:
                with pt.plate("inner", 3), shared:
                    barrier.wait()
                    pt.sample("x", dist.Normal(0.0, 1.0))
                    barrier.wait()
            else:
                with shared:
                    barrier.wait()
                    pt.sample("x", dist.Normal(0.0, 1.0))
                    barrier.wait()
        shapes[name] = tuple(recorded.trace["x"].value.shape)

    threads = [threading.Thread(target=run, args=(f"{depth}", depth)) for depth in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shapes == {"0": (2,), "1": (2, 3)}


def test_each_asyncio_task_has_a_stack_of_its_own():
    async def run(value):
        with handle.condition(data={"x": value}):
            await asyncio.sleep(0)
            drawn = pt.sample("x", dist.Normal(0.0, 1.0))
            await asyncio.sleep(0)
            return float(drawn)

    async def both():
        return await asyncio.gather(run(1.0), run(2.0))

    assert asyncio.run(both()) == [1.0, 2.0]


def test_a_block_outside_of_programs_is_not_seen():
    with handle.trace() as recorded:
        with outside_programs():
            pt.sample("hidden", dist.Normal(0.0, 1.0))
            assert handlers() == ()
        pt.sample("seen", dist.Normal(0.0, 1.0))
    assert list(recorded.trace) == ["seen"]


def test_handlers_put_aside_come_back_after_an_error():
    with handle.trace() as recorded:
        with pytest.raises(ArithmeticError), only_handlers(lambda handler: False):
            raise ArithmeticError
        assert handlers() == (recorded,)


def statements():
    return {
        "sample": lambda x: pt.sample("site", dist.Normal(x, 1.0)),
        "deterministic": lambda x: pt.deterministic("site", x),
        "param": lambda x: pt.param("site", x),
        "factor": lambda x: pt.factor("site", x),
        "plate": lambda x: pt.plate("site", 3).size + x,
    }


@pytest.mark.parametrize("statement", statements())
def test_a_statement_inside_torch_compile_says_what_to_do(statement):
    function = statements()[statement]
    with pytest.raises(Exception, match=r"\('site'\) was reached inside torch.compile.*compile=True"):
        torch.compile(function, fullgraph=True, backend="eager")(torch.tensor(1.0))


def test_a_module_inside_torch_compile_says_what_to_do():
    network = torch.nn.Linear(1, 1)
    function = torch.compile(lambda x: pt.module("net", network)(x), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=r"pt.module\('net'\) was reached inside torch.compile"):
        function(torch.ones(1))
