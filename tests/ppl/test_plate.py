import numpy as np
import pytest
import torch

import posterity as pt
from posterity.kernels import Key
from posterity.ppl import subsample
from tests.statistical import assert_mean

dist, handle = pt.distributions, pt.handlers


def traced(program, *args):
    return handle.trace(program).get_trace(*args)


def standard_normal(name):
    return pt.sample(name, dist.Normal(0.0, 1.0))


class TestDimensions:
    def test_plates_take_dimensions_from_the_right(self):
        def model():
            with pt.plate("a", 2):
                standard_normal("x")
                with pt.plate("b", 3):
                    standard_normal("y")
                    with pt.plate("c", 4):
                        standard_normal("z")

        shapes = {site.name: tuple(site.value.shape) for site in traced(model).samples()}
        assert shapes == {"x": (2,), "y": (3, 2), "z": (4, 3, 2)}

    def test_a_free_dimension_between_fixed_ones_is_taken(self):
        def model():
            with pt.plate("a", 2, dim=-1), pt.plate("c", 4, dim=-3), pt.plate("b", 3):
                standard_normal("x")

        assert traced(model)["x"].value.shape == (4, 3, 2)

    def test_a_fixed_dimension_leaves_ones_to_its_right(self):
        def model():
            with pt.plate("a", 2, dim=-3):
                standard_normal("x")

        assert traced(model)["x"].value.shape == (2, 1, 1)

    def test_a_site_sees_its_plates_from_the_outermost(self):
        def model():
            with pt.plate("a", 2), pt.plate("b", 3):
                standard_normal("x")

        frames = traced(model)["x"].plates
        assert [(f.name, f.dim, f.size, f.full_size, f.vectorized) for f in frames] == [
            ("a", -1, 2, 2, True),
            ("b", -2, 3, 3, True),
        ]

    def test_events_stand_right_of_plates(self):
        def model():
            with pt.plate("a", 2):
                pt.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))

        site = traced(model)["x"]
        assert site.value.shape == (2, 3)
        assert site.log_prob().shape == (2,)

    def test_the_draws_of_a_plate_are_independent(self):
        with pt.plate("a", 20_000):
            assert_mean(standard_normal("x"), 0.0)

    def test_one_plate_object_serves_many_blocks(self):
        def model():
            a, b = pt.plate("a", 2, dim=-1), pt.plate("b", 3, dim=-2)
            with a:
                standard_normal("x")
            with a, b:
                standard_normal("xy")
            with b:
                standard_normal("y")

        shapes = {site.name: tuple(site.value.shape) for site in traced(model).samples()}
        assert shapes == {"x": (2,), "xy": (3, 2), "y": (3, 1)}

    def test_a_plate_decorates_a_function(self):
        @pt.plate("a", 3)
        def inside():
            return standard_normal("x")

        assert inside().shape == (3,)

    def test_a_plate_tells_its_frame_while_it_is_open(self):
        plate = pt.plate("a", 3)
        with plate:
            assert plate.frame.dim == -1
        with pytest.raises(RuntimeError, match="plate 'a' is not open here"):
            _ = plate.frame

    def test_a_dimension_that_is_taken_is_refused(self):
        message = "plate 'b' cannot take dim -1: plate 'a' around it has that dimension"
        with pytest.raises(ValueError, match=message), pt.plate("a", 2), pt.plate("b", 2, dim=-1):
            pass

    def test_a_plate_inside_itself_is_refused(self):
        plate = pt.plate("a", 2)
        with pytest.raises(ValueError, match="site 'x' stands twice inside plate 'a'"), plate, plate:
            standard_normal("x")

    def test_a_plate_at_two_dimensions_is_refused(self):
        def model():
            with pt.plate("a", 2):
                standard_normal("x")
            with pt.plate("b", 3), pt.plate("a", 2):
                standard_normal("y")

        with pytest.raises(
            ValueError, match="plate 'a' is used at dim -1 with 2 elements, and around site 'y' at dim -2"
        ):
            traced(model)

    def test_a_plate_of_two_sizes_is_refused(self):
        def model():
            with pt.plate("a", 2):
                standard_normal("x")
            with pt.plate("a", 3):
                standard_normal("y")

        with pytest.raises(ValueError, match="plate 'a' stands twice in the program, with 2 elements and with 3"):
            traced(model)

    def test_a_batch_of_another_size_is_refused(self):
        message = r"site 'x' has 3 elements in dim -1 of its batch_shape \(3,\), where plate 'a' around it has 2"
        with pytest.raises(ValueError, match=message), pt.plate("a", 2):
            pt.sample("x", dist.Normal(torch.zeros(3), 1.0))


class TestArguments:
    def test_they_stand_in_the_order_of_pyros(self):
        plate = pt.plate("a", 10, 2, torch.tensor([3, 4]), -2)
        assert (plate.name, plate.size, plate.subsample_size, plate.dim) == ("a", 10, 2, -2)
        assert plate.indices.tolist() == [3, 4]

    @pytest.mark.parametrize("size", [np.int64(3), torch.tensor(3), len("abc")])
    def test_any_whole_number_is_a_size(self, size):
        assert pt.plate("a", size).size == 3

    @pytest.mark.parametrize("size", [3.0, True, "3", None])
    def test_a_size_that_is_no_whole_number_is_refused(self, size):
        with pytest.raises(TypeError, match=f"size of plate 'a' must be a whole number, not {size!r}"):
            pt.plate("a", size)

    def test_a_subsample_size_that_is_no_whole_number_is_refused(self):
        with pytest.raises(TypeError, match="subsample_size of plate 'a' must be a whole number, not 2.0"):
            pt.plate("a", 3, 2.0)

    @pytest.mark.parametrize("size", [0, -1])
    def test_an_empty_plate_is_refused(self, size):
        with pytest.raises(ValueError, match=f"plate 'a' must hold at least one element, but its size is {size}"):
            pt.plate("a", size)

    @pytest.mark.parametrize("size", [0, 4])
    def test_a_subsample_that_does_not_fit_its_plate_is_refused(self, size):
        with pytest.raises(
            ValueError, match=f"subsample_size of plate 'a' must lie between 1 and its size 3, not {size}"
        ):
            pt.plate("a", 3, subsample_size=size)

    @pytest.mark.parametrize("index", [-1, 3])
    def test_an_index_outside_of_the_plate_is_refused(self, index):
        with pytest.raises(ValueError, match=f"subsample of plate 'a' has index {index}, outside of its 3 elements"):
            pt.plate("a", 3, subsample=torch.tensor([0, index]))

    @pytest.mark.parametrize("indices", [torch.ones(2), torch.ones(1, 2, dtype=torch.int64), torch.tensor([True])])
    def test_indices_that_are_none_are_refused(self, indices):
        with pytest.raises(ValueError, match="subsample of plate 'a' must be a vector of indices, not torch"):
            pt.plate("a", 3, subsample=indices)

    def test_a_dimension_in_the_place_of_the_subsample_is_told_its_name(self):
        with pytest.raises(TypeError, match="a dimension is given by name: dim=-2"):
            pt.plate("a", 3, None, -2)

    def test_two_sizes_of_a_subsample_must_agree(self):
        with pytest.raises(ValueError, match="plate 'a': subsample_size is 1, but subsample has 2 indices"):
            pt.plate("a", 3, subsample_size=1, subsample=torch.tensor([0, 1]))

    @pytest.mark.parametrize("dim", [0, 1, -1.0])
    def test_a_dimension_that_is_not_negative_is_refused(self, dim):
        with pytest.raises(ValueError, match="dim of plate 'a' must be negative, counted from the right"):
            pt.plate("a", 3, dim=dim)

    @pytest.mark.parametrize("name", ["", 3, None])
    def test_a_name_that_is_no_string_is_refused(self, name):
        with pytest.raises(TypeError, match="plate: the name must be a string that is not empty"):
            pt.plate(name, 3)

    def test_the_device_says_where_indices_live(self):
        assert pt.plate("a", 3, device="meta").indices.is_meta


class TestSubsamples:
    def test_log_densities_are_scaled_to_the_full_size(self):
        def model():
            with pt.plate("data", 10, subsample_size=4):
                pt.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(4))

        expected = 10 * dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.0))
        torch.testing.assert_close(traced(model).log_prob_sum(), expected)

    def test_nested_subsamples_multiply(self):
        def model():
            with pt.plate("a", 10, subsample_size=5), pt.plate("b", 9, subsample_size=3):
                standard_normal("x")

        assert traced(model)["x"].scale == 6.0

    def test_the_scaled_density_is_unbiased(self):
        data = torch.arange(6.0)

        def model():
            with pt.plate("data", 6, subsample_size=2) as chosen:
                pt.sample("x", dist.Normal(0.0, 1.0), obs=data[chosen])

        densities = torch.stack([traced(model).log_prob_sum() for _ in range(300)])
        assert_mean(densities, dist.Normal(0.0, 1.0).log_prob(data).sum())

    @pytest.mark.parametrize("source", [Key(0), torch.Generator().manual_seed(0), None])
    def test_no_element_is_taken_twice(self, source):
        with handle.seed(rng_seed=source) if source is not None else handle.block():
            chosen = pt.plate("data", 50, subsample_size=40).indices
        assert len(set(chosen.tolist())) == 40
        assert set(chosen.tolist()) <= set(range(50))

    def test_every_element_is_as_likely(self):
        with handle.seed(rng_seed=0):
            chosen = torch.stack([pt.plate("data", 4, subsample_size=2).indices for _ in range(500)])
        assert_mean(torch.nn.functional.one_hot(chosen, 4).sum(1).float(), 0.5)

    def test_a_seed_fixes_the_subsample(self):
        seeded = handle.seed(lambda: pt.plate("data", 100, subsample_size=10).indices.tolist(), 3)
        assert seeded() == seeded()

    def test_one_plate_has_one_subsample_in_all_its_blocks(self):
        plate = pt.plate("data", 100, subsample_size=10)
        with plate as first:
            pass
        with plate as second:
            pass
        assert first.tolist() == second.tolist() == list(plate)

    def test_two_plates_of_one_name_share_the_subsample_in_a_trace(self):
        def model():
            return [pt.plate("data", 100, subsample_size=10).indices.tolist() for _ in range(2)]

        with handle.trace():
            first, second = model()
        assert first == second

    def test_a_model_replays_the_subsample_of_its_guide(self):
        def program():
            with pt.plate("data", 100, subsample_size=10) as chosen:
                standard_normal("x")
            return chosen.tolist()

        guide = handle.trace(program)
        chosen = guide()
        replayed = handle.trace(handle.replay(program, guide.trace))
        assert replayed() == chosen
        assert replayed.trace["x"].value is guide.trace["x"].value

    def test_a_replayed_plate_of_another_size_is_refused(self):
        recorded = traced(lambda: pt.plate("data", 4))
        with pytest.raises(ValueError, match="replay: plate 'data' has 5 elements, and 4 in the trace"):
            handle.replay(lambda: pt.plate("data", 5), recorded)()

    def test_data_are_cut_along_each_plate(self):
        data = torch.arange(24.0).reshape(4, 3, 2)
        rows, columns = torch.tensor([3, 0]), torch.tensor([1])
        with pt.plate("columns", 3, subsample=columns), pt.plate("rows", 4, subsample=rows):
            torch.testing.assert_close(subsample(data, event_dim=1), data[rows][:, columns])

    def test_a_dimension_of_one_and_a_missing_one_are_left_alone(self):
        with pt.plate("data", 5, subsample_size=2):
            assert subsample(torch.ones(1)).shape == (1,)
            assert subsample(torch.ones(3), event_dim=1).shape == (3,)

    def test_data_of_neither_size_are_refused(self):
        with (
            pt.plate("data", 5, subsample_size=2),
            pytest.raises(
                ValueError,
                match=r"subsample: data of shape \(4,\) has 4 elements in dim -1, where plate 'data' has 5, or 2",
            ),
        ):
            subsample(torch.ones(4))


class TestLoops:
    def test_each_turn_has_sites_of_its_own(self):
        def model():
            for i in pt.plate("loop", 3):
                standard_normal(f"x_{i}")

        trace = traced(model)
        assert [site.name for site in trace.samples()] == ["x_0", "x_1", "x_2"]
        assert [site.plates[0].counter for site in trace.samples()] == [0, 1, 2]
        assert all(site.value.shape == () for site in trace.samples())
        assert not trace["x_0"].plates[0].vectorized

    def test_it_takes_no_dimension_from_vectorised_plates(self):
        def model():
            for i in pt.plate("loop", 2):
                with pt.plate("inside", 4):
                    standard_normal(f"x_{i}")

        assert traced(model)["x_1"].value.shape == (4,)

    def test_a_subsampled_loop_runs_over_the_indices_and_is_scaled(self):
        def model():
            for i in pt.plate("loop", 6, subsample=torch.tensor([4, 1])):
                standard_normal(f"x_{i}")

        trace = traced(model)
        assert [site.name for site in trace.samples()] == ["x_4", "x_1"]
        assert trace["x_4"].scale == 3.0

    def test_a_loop_and_a_block_have_the_same_density(self):
        data = torch.arange(4.0)

        def vectorised():
            with pt.plate("data", 4):
                pt.sample("x", dist.Normal(0.0, 1.0), obs=data)

        def looped():
            for i in pt.plate("data", 4):
                pt.sample(f"x_{i}", dist.Normal(0.0, 1.0), obs=data[i])

        torch.testing.assert_close(traced(vectorised).log_prob_sum(), traced(looped).log_prob_sum())

    def test_a_site_whose_name_does_not_change_is_refused(self):
        def model():
            for _ in pt.plate("loop", 2):
                standard_normal("x")

        with pytest.raises(ValueError, match="two sites are called 'x'.*in a loop, put the turn into the name"):
            traced(model)
