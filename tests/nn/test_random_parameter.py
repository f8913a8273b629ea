"""What one random parameter holds while a draw is open."""

import pickle
import threading

import torch

from posterity import nn as bnn
from posterity.nn.random_parameter import Draw, RandomParameter


def parameter() -> tuple[bnn.Linear, RandomParameter]:
    layer = bnn.Linear(3, 2)
    return layer, layer._random["weight"]


def test_an_open_draw_is_taken_once():
    layer, random = parameter()
    assert random.open(Draw())
    first = random.value(layer, "weight")
    assert random.value(layer, "weight") is first
    random.close()
    assert not torch.equal(random.value(layer, "weight"), first)


def test_a_draw_inside_another_is_part_of_it():
    _, random = parameter()
    outer = Draw(whole=True)
    assert random.open(outer)
    assert not random.open(Draw())
    assert random.slot().draw is outer
    random.close()
    assert random.slot() is None


def test_what_is_open_belongs_to_its_thread():
    _, random = parameter()
    random.open(Draw())
    seen = []
    thread = threading.Thread(target=lambda: seen.append(random.slot()))
    thread.start()
    thread.join()
    assert seen == [None]
    random.close()


def test_pickling_keeps_the_recipe_and_nothing_open():
    _, random = parameter()
    random.open(Draw())
    copied = pickle.loads(pickle.dumps(random))
    assert copied.slot() is None
    assert (copied.posterior, copied.prior) == (random.posterior, random.prior)
    random.close()


def test_drawn_values_carry_gradients_to_every_tensor():
    layer, random = parameter()
    random.value(layer, "weight").square().sum().backward()
    assert layer.weight_loc.grad.any()
    assert layer.weight_rho.grad.any()
