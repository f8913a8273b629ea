"""What Posterity claims about its speed and its uncertainty, measured: `python -m benchmarks`."""
