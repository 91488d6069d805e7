"""Several processes that train one model: who is first, sums of gradients, copies from the first to all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parsers.inputs import resolve_device
from parsers.json_files import canonical_json
from treeavg.errors import ArgumentError, FormatError, quote

#: Gradients are summed over processes in pieces of about so many numbers.
BUCKET = 8_000_000


def is_first_process() -> bool:
    """Tell whether this is the process that writes files: the only one, or the first that a launcher started.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_first_process()
    True
    """
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or int(os.environ.get("RANK", "0")) == 0


class Processes:
    """The processes of a run, as ``accelerate launch`` or ``torchrun`` started them; else this one.

    Parameters
    ----------
    device : str or torch.device
        As for `parsers.base.resolve_device`; of several processes with CUDA, each has a card of its own.

    Raises
    ------
    ArgumentError
        The device is absent, or there are several processes without accelerate.

    Examples
    --------
    >>> Processes("cpu").count
    1
    """

    def __init__(self, device: str | torch.device) -> None:
        self.device = resolve_device(device)
        self.count, self.rank = 1, 0
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            try:
                from accelerate import PartialState
            except ImportError:
                raise ArgumentError(
                    "accelerate: expected the package, as there are several processes, got none. "
                    "Install treeavg[transformers], or start one process."
                ) from None
            state = PartialState(cpu=self.device.type == "cpu")
            self.count, self.rank = state.num_processes, state.process_index
            self.device = torch.device(state.device)

    @property
    def first(self) -> bool:
        """Whether this process writes files, evaluates and reports."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> None:
        """Add up a tensor over processes, in place.

        Parameters
        ----------
        tensor : Tensor
            Of one shape in all processes.

        Examples
        --------
        >>> Processes("cpu").sum_(torch.ones(1))
        """
        if self.count > 1:
            torch.distributed.all_reduce(tensor)

    def sum_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Add up gradients over processes; a parameter without one in all processes keeps none.

        Parameters
        ----------
        parameters : list of Parameter
            The same in all processes.

        Examples
        --------
        >>> Processes("cpu").sum_gradients([])
        """
        if self.count == 1:
            return
        held = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.float32)
        held = held.to(self.device)
        self.sum_(held)
        bucket: list[Tensor] = []
        for parameter, holders in zip(parameters, held.tolist(), strict=True):
            if not holders:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if bucket and (bucket[0].dtype != parameter.grad.dtype or sum(part.numel() for part in bucket) >= BUCKET):
                self._sum_bucket(bucket)
                bucket = []
            bucket.append(parameter.grad)
        self._sum_bucket(bucket)

    def _sum_bucket(self, bucket: list[Tensor]) -> None:
        if not bucket:
            return
        flat = torch.cat([part.reshape(-1) for part in bucket])
        self.sum_(flat)
        for part, summed in zip(bucket, torch.split(flat, [part.numel() for part in bucket]), strict=True):
            part.copy_(summed.view_as(part))

    def copy_document(self, document: Mapping[str, Any] | None) -> Any:
        """Return the first process's document in all processes.

        Parameters
        ----------
        document : mapping or None
            What JSON can hold; looked at in the first process only.

        Returns
        -------
        Any

        Examples
        --------
        >>> Processes("cpu").copy_document({"a": 1})
        {'a': 1}
        """
        if self.count == 1:
            return document
        data = canonical_json(document).encode() if self.first else b""
        size = torch.tensor([len(data)], dtype=torch.int64, device=self.device)
        torch.distributed.broadcast(size, src=0)
        content = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.first:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        torch.distributed.broadcast(content, src=0)
        return json.loads(bytes(content.cpu().tolist()))

    def copy_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process.

        Parameters
        ----------
        tensors : iterable of Tensor
            The same shapes in all processes.

        Examples
        --------
        >>> Processes("cpu").copy_tensors([torch.ones(1)])
        """
        if self.count == 1:
            return
        for tensor in tensors:
            moved = tensor.detach().to(self.device).contiguous()
            torch.distributed.broadcast(moved, src=0)
            with torch.no_grad():
                tensor.copy_(moved)

    def copy_named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the first process's tensors in all processes, on the CPU.

        Parameters
        ----------
        tensors : mapping from str to Tensor
            Looked at in the first process only.

        Returns
        -------
        dict from str to Tensor

        Examples
        --------
        >>> Processes("cpu").copy_named({"a": torch.ones(1)})
        {'a': tensor([1.])}
        """
        if self.count == 1:
            return dict(tensors)
        shapes = {name: [str(value.dtype).removeprefix("torch."), list(value.shape)] for name, value in tensors.items()}
        result = {
            name: tensors[name] if self.first else torch.empty(shape, dtype=_dtype(dtype))
            for name, (dtype, shape) in self.copy_document(shapes).items()
        }
        self.copy_tensors(result.values())
        return result


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise FormatError(f"dtype: expected one of torch's, got {quote(name)}. Start the run again.")
    return found
