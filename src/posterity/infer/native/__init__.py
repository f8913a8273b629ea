"""C++ sources of this package, and what builds them on the machine where they run."""
