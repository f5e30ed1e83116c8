"""`python -m vlprompt` is the same as `vlprompt`."""

import sys

from vlprompt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
