"""The page as one file: markup, style, script and data, with a policy that forbids everything else."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files

from treeavg.report.payload import Payload

#: In the order in which they are joined.
SCRIPTS = ("core.js", "data.js", "charts.js", "trees.js", "grids.js", "save.js", "list.js", "browser.js", "main.js")


def page(title: str, payload: Payload) -> bytes:
    """Return a report as HTML.

    Parameters
    ----------
    title : str
        Any text.
    payload : Payload
        From `payload_of`.

    Returns
    -------
    bytes
        UTF-8. The same arguments give the same bytes.

    Notes
    -----
    The policy in the page's head lets run the one script and the one style whose hashes it names, and load nothing:
    neither a server nor a file beside the page is ever asked for anything. Data stand in elements that are not
    scripts, without the letters ``<``, ``>`` and ``&``, so that no word can end the element.
    """
    script = "\n".join(_asset(name) for name in SCRIPTS)
    style = _asset("style.css")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": html.escape(policy, quote=True),
        "TITLE": html.escape(title),
        "STYLE": style,
        "FACTS": _inert(payload.facts),
        "COLUMNS": payload.columns,
        "SCRIPT": script,
    }
    pieces = _asset("index.html").split("%%")
    # Odd pieces are names; what is put in is not looked through again.
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(pieces)).encode()


def _inert(text: str) -> str:
    """Escape JSON so that it cannot be markup."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _asset(name: str) -> str:
    return (files("treeavg.report") / "assets" / name).read_text(encoding="utf-8")
