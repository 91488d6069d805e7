"""``python -m treeavg``."""

import sys

from treeavg.cli import main

if __name__ == "__main__":
    sys.exit(main())
