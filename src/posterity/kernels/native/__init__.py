"""C++ sources of this package, and what builds them, and those of other packages, on the machine where they run."""
