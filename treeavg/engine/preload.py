"""Loaded by the worker processes of this machine before they work (Dask calls it a preload)."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Let Ctrl-C be the business of the process that the user started: it closes its workers.

    Parameters
    ----------
    worker : distributed.Worker
        Not used.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
