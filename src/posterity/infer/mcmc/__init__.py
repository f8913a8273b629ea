"""Markov chain Monte Carlo: kernels over plain tensors, what tunes them, and the driver that runs them."""
