"""Parsers of the package benepar: any model of its as a teacher, and a student of its architecture.

Needs the extra ``benepar``. Where benepar does not work with recent versions of transformers, its objects are made here
in another way; the package itself is used as it is installed.
"""

from parsers.benepar.parser import Benepar
from parsers.benepar.sizes import BeneparSizes
from parsers.benepar.student import BeneparStudent

__all__ = ["Benepar", "BeneparSizes", "BeneparStudent"]
