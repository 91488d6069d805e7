"""Seeds of random numbers: from the place in a training, the same in every process that resumes it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_for(*numbers: int) -> int:
    """Mix whole numbers into one seed, the same on every machine.

    Parameters
    ----------
    *numbers : int
        Such as the run's seed, the epoch, the batch.

    Returns
    -------
    int
        From 0 to below 2**63.

    Notes
    -----
    The first 63 bits of SHA-256 of the numbers in decimal, so neighbouring numbers have unrelated seeds.

    Examples
    --------
    >>> seed_for(0, 1) == seed_for(0, 1), seed_for(0, 1) == seed_for(1, 0)
    (True, False)
    """
    text = ",".join(str(int(number)) for number in numbers)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def set_seeds(seed: int, device: torch.device) -> None:
    """Seed torch, Python and NumPy; use it inside `kept_random_state`.

    Parameters
    ----------
    seed : int
        As of `seed_for`.
    device : torch.device
        Its generator is seeded as well as the CPU's.

    Examples
    --------
    >>> with kept_random_state(torch.device("cpu")):
    ...     set_seeds(7, torch.device("cpu"))
    """
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would change all devices, for good
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)


@contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Restore the caller's random state of torch, Python and NumPy at the end.

    Parameters
    ----------
    device : torch.device
        Its generator is kept as well as the CPU's.

    Yields
    ------
    None

    Examples
    --------
    >>> state = random.getstate()
    >>> with kept_random_state(torch.device("cpu")):
    ...     set_seeds(7, torch.device("cpu"))
    >>> random.getstate() == state
    True
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    on_card = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=on_card):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
