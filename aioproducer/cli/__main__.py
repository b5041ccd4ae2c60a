"""`python -m aioproducer.cli` is the command `aioproducer`."""

import sys

from aioproducer.cli import main

if __name__ == "__main__":
    sys.exit(main())
