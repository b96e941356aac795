"""`python -m rompy_hydra`."""

import sys

from rompy_hydra.cli import main

if __name__ == "__main__":
    sys.exit(main())
