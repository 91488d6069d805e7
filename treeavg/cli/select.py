"""``treeavg select``: the best of the teachers' own trees."""

from __future__ import annotations

from typing import Any

from treeavg.cli import average, options

DESCRIPTION = """\
Choose, sentence by sentence, the teacher's tree that collects the most hits; the same as 'average --method select'.

  treeavg select teachers/*.txt -o selected.txt
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "select", "choose the best teacher's tree for each sentence", DESCRIPTION)
    parser.set_defaults(method="select")
    average.add_arguments(parser)
