"""Messages are tested by their content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def says(kind: type[Exception] | tuple[type[Exception], ...], *parts: str) -> Iterator[None]:
    """Expect an error of one line, a whole sentence, that has these parts in this order."""
    with pytest.raises(kind, match=".*".join(re.escape(part) for part in parts)) as caught:
        yield
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))
