"""Side-by-side measurements; `make bench` runs them all."""

import graftwerk  # noqa: F401  before any peer: it forbids what libraries would send home
