"""`python -m benchmarks [NAME ...]`: the benchmarks of these names, or all of them, one after the other."""

import argparse
import importlib

NAMES = ("training_step", "prediction", "distributions", "svi", "mcmc", "vae", "flows", "digits", "mnist")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; default: all")
    names = parser.parse_args().names or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    for name in names:
        importlib.import_module(f"benchmarks.{name}").main([])


if __name__ == "__main__":
    main()
