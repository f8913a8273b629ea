"""Each example runs in a short form, and finds what it says that it finds."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

FOLDER = Path(__file__).parent.parent / "examples"

Found = dict[str, float]

# Of each example: the arguments of its short form, and what is true of that form's result.
SHORT: dict[str, tuple[list[str], Callable[[Found], bool]]] = {
    # A longer run comes nearer: here, within two standard deviations of the posterior, and of 90 +- 3 % covered.
    "bayesian_regression": (
        ["--steps", "300"],
        lambda found: found["error_in_sd"] < 2 and 0.75 < found["coverage"] < 1,
    ),
    "eight_schools": (["--steps", "600"], lambda found: abs(found["mu"] - 4.4) < 2.5 and 2 < found["tau"] < 5),
    # Within five of the Monte Carlo standard errors that the run states itself, and the reference's rounding.
    "eight_schools_nuts": (
        ["--steps", "300"],
        lambda found: (
            abs(found["mu"] - 4.4) < 5 * found["mu_error"] + 0.05
            and abs(found["tau"] - 3.6) < 5 * found["tau_error"] + 0.05
        ),
    ),
    "gaussian_mixture": (["--steps", "80"], lambda found: found["agreement"] > 0.9),
    "hidden_markov_model": (
        ["--steps", "40", "--days", "6"],
        lambda found: found["likelihood_difference"] < 0.01 and found["agreement"] > 0.8,
    ),
    "item_response": (["--steps", "150"], lambda found: found["ability"] > 0.85 and found["difficulty"] > 0.95),
    "matrix_factorisation": (["--steps", "350"], lambda found: 0.5 < found["error"] < 0.6 * found["error_of_mean"]),
    "latent_dirichlet_allocation": (["--steps", "60"], lambda found: found["loss_fell_by"] > 0.01),
    "deep_markov_model": (
        ["--epochs", "15", "--length", "5"],
        lambda found: found["exact"] < found["bound"] < found["independent"],
    ),
    "sigmoid_belief_net": (
        ["--epochs", "14", "--particles", "4"],
        # The bound of 100 draws is known within a few hundredths.
        lambda found: (
            abs(found["exact"] - found["bound_100"]) < 0.2
            and found["bound_100"] < found["bound_2"] < found["independent"]
        ),
    ),
    "bayesian_network": (["--steps", "500"], lambda found: found["spread_ratio"] > 1.3 and found["error"] < 0.5),
    "vae": (["--epochs", "10"], lambda found: found["bound"] < found["independent"] - 2),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_an_example_finds_what_it_says(name, capsys):
    arguments, is_true = SHORT[name]
    specification = importlib.util.spec_from_file_location(f"examples_{name}", FOLDER / f"{name}.py")
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    found = example.main(arguments)
    assert found.get("loss_fell_by", 1.0) > 0, found
    assert is_true(found), found
    assert capsys.readouterr().out


def test_the_table_of_examples_names_each_of_them():
    named = re.findall(r"\(([a-z_]+)\.py\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(path.stem for path in FOLDER.glob("*.py"))
