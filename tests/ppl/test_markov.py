"""Which turns a site may depend on."""

import asyncio

import pytest
import torch

import posterity as pt
from posterity.distributions import Bernoulli
from posterity.handlers import trace
from posterity.ppl.stack import handlers


def site(name):
    pt.sample(name, Bernoulli(0.5))


def sees(recorded, later):
    """The names of the sites up to `later` whose turns it sees."""
    visible = frozenset().union(*(turn.visible for turn in recorded[later].turns))
    before = list(recorded.samples())
    before = before[: before.index(recorded[later]) + 1]
    return {other.name for other in before if {turn.own for turn in other.turns} <= visible}


@pytest.mark.parametrize("history", [0, 1, 2])
def test_a_turn_sees_itself_and_as_many_before_it_as_its_history(history):
    def model():
        site("before")
        for t in pt.markov(range(6), history=history):
            site(f"x_{t}")
        site("after")

    recorded = trace(model).get_trace()
    assert sees(recorded, "x_4") == {"before"} | {f"x_{t}" for t in range(4 - history, 5)}
    assert sees(recorded, "after") == {"before", "after"}


def test_the_elements_come_as_they_are():
    assert list(pt.markov("abc")) == ["a", "b", "c"]
    assert list(pt.markov(i * i for i in range(4))) == [0, 1, 4, 9]


def test_a_plate_can_be_a_chain():
    with trace() as recorded:
        for i in pt.markov(pt.plate("turns", 3)):
            site(f"x_{i}")
    assert sees(recorded.trace, "x_2") == {"x_1", "x_2"}
    assert handlers() == ()


def test_chains_in_one_another_see_what_both_allow():
    def model():
        for i in pt.markov(range(3)):
            for j in pt.markov(range(3)):
                site(f"x_{i}{j}")

    recorded = trace(model).get_trace()
    # The inner loop of the turn before is over.
    assert sees(recorded, "x_22") == {"x_21", "x_22"}


def test_calls_of_a_function_follow_those_around_them():
    @pt.markov
    def branch(name, depth):
        site(name)
        if depth:
            branch(name + "l", depth - 1)
            branch(name + "r", depth - 1)

    recorded = trace(branch).get_trace("x", 2)
    assert sees(recorded, "xrl") == {"xr", "xrl"}
    assert sees(recorded, "xr") == {"x", "xr"}


def test_branches_that_are_kept_see_their_neighbours():
    @pt.markov(history=1, keep=True)
    def branch(name, depth):
        site(name)
        if depth:
            branch(name + "l", depth - 1)
            branch(name + "r", depth - 1)

    recorded = trace(branch).get_trace("x", 2)
    assert sees(recorded, "xr") == {"x", "xl", "xr"}
    assert sees(recorded, "xrr") == {"xl", "xr", "xll", "xlr", "xrl", "xrr"}


def test_with_blocks_are_turns():
    def model():
        chain = pt.markov()
        with chain:
            site("a")
            with chain:
                site("b")
                with chain:
                    site("c")

    assert sees(trace(model).get_trace(), "c") == {"b", "c"}


def test_a_loop_left_early_leaves_no_handler():
    for t in pt.markov(range(5)):
        site(f"x_{t}")
        if t == 2:
            break
    assert handlers() == ()


def test_a_loop_that_fails_leaves_no_handler():
    def model():
        for _ in pt.markov(range(5)):
            site("the same")

    with pytest.raises(ValueError, match="two sites are called 'the same'"):
        trace(model)()
    assert handlers() == ()


def test_each_task_has_turns_of_its_own():
    shared = pt.markov(history=5)
    found = {}

    async def run(name, turns):
        with trace() as recorded:
            for t in range(turns):
                shared.__enter__()
                site(f"{name}_{t}")
                await asyncio.sleep(0)
            for _ in range(turns):
                shared.__exit__(None, None, None)
        found[name] = sees(recorded.trace, f"{name}_{turns - 1}")

    async def both():
        await asyncio.gather(asyncio.create_task(run("a", 3)), asyncio.create_task(run("b", 2)))

    asyncio.run(both())
    assert found == {"a": {"a_0", "a_1", "a_2"}, "b": {"b_0", "b_1"}}


def test_what_is_neither_a_loop_nor_a_function_is_refused():
    with pytest.raises(TypeError, match="markov must be given something to loop over, or a function, not int"):
        pt.markov(5)
    with pytest.raises(TypeError, match="markov was given nothing to loop over"):
        next(iter(pt.markov()))
    with pytest.raises(TypeError, match="markov was given no function to call"):
        pt.markov(range(3))(torch.ones(2))


@pytest.mark.parametrize("history", [-1, 1.5, True])
def test_a_history_is_a_whole_number(history):
    with pytest.raises(ValueError, match="history of markov must be a whole number of at least 0"):
        pt.markov(range(3), history=history)
