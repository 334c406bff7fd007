"""`python -m graftwerk` is `graft`."""

import sys

from .cli import main

sys.exit(main())
