"""`python -m graftwerk` is `graft`."""

import sys

from .cli.main import main

sys.exit(main())
