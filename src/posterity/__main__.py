"""`python -m posterity` is the `posterity` command."""

import sys

from posterity.cli import main

if __name__ == "__main__":
    sys.exit(main())
