"""ContexDistort: trees from how much an encoder's vectors change when spans are replaced, isolated or moved."""

from parsers.contexdistort.contexdistort import ContexDistort
from parsers.contexdistort.options import ContexDistortOptions

__all__ = ["ContexDistort", "ContexDistortOptions"]
