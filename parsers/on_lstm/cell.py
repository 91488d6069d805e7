"""The recurrence of a layer of ordered neurons, and its derivative.

The loop over words is the slow part of an ON-LSTM. It is differentiated by hand: every step keeps its gates, the way
back writes the gradients of all steps' gates into one tensor, and the gradient of the recurrent weights is one product
at the end, where automatic differentiation would add one a step. ``tests/parsers/test_on_lstm.py`` has the slow twin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def recurrence(gates: Tensor, weight: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Run a layer of ordered neurons over sentences, from a zero state; [Shen2019], equations 1 to 14.

    Parameters
    ----------
    gates : Tensor, floating, shape (T, B, 4 H + 2 m), where H = m * chunk
        What the words and the biases give to the gates' logits: m of the master input gate, m of the master forget
        gate, then H each of output gate, candidate, input gate and forget gate.
    weight : Tensor, shape (4 H + 2 m, H)
        What the state before gives to them.
    chunk : int
        Neurons that share their master gates.

    Returns
    -------
    states : Tensor, shape (T, B, H)
        Differentiable, once.
    distances : Tensor, shape (T, B)
        How much of the memory each word erases: 1 less the mean of its master forget gate, from 0 to 1 - 1/m. Not
        differentiable.

    Notes
    -----
    With cumax the cumulative sum of a softmax, the master gates are f~ = cumax(.) and i~ = 1 - cumax(.), and w = f~ i~
    their overlap. The memory is c_t = f^ c_{t-1} + i^ u with f^ = f w + (f~ - w) and i^ = i w + (i~ - w); the state is
    h_t = o tanh(c_t).

    Examples
    --------
    >>> states, distances = recurrence(torch.zeros(2, 1, 4 * 4 + 2 * 4), torch.zeros(24, 4), 1)
    >>> distances.tolist()
    [[0.375], [0.375]]
    """
    states, distances = _Recurrence.apply(gates, weight, chunk)  # type: ignore[no-untyped-call]
    return states, distances


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, weight: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        steps, batch, width = logits.shape
        size = weight.shape[1]
        m = size // chunk
        gates = torch.empty_like(logits)  # softmaxes of the master gates, then o, u, i, f
        masters = logits.new_empty(steps, batch, 2, m)
        states = logits.new_zeros(steps + 1, batch, size)  # from here on, [t + 1] is that after word t
        cells = logits.new_zeros(steps + 1, batch, m, chunk)
        tanh = logits.new_empty(steps, batch, m, chunk)
        transposed = weight.t()
        for t in range(steps):
            own = torch.addmm(logits[t], states[t], transposed, out=gates[t])
            soft = own[:, : 2 * m].view(batch, 2, m)
            soft.copy_(torch.softmax(soft, -1))
            master = torch.cumsum(soft, -1, out=masters[t])
            torch.sub(1, master[:, 0], out=master[:, 0])
            o, u, i, f = own[:, 2 * m :].view(batch, 4, m, chunk).unbind(1)
            o.sigmoid_()
            u.tanh_()
            own[:, width - 2 * size :].sigmoid_()
            i_master, f_master, overlap = _masters(master)
            torch.mul(torch.addcmul(f_master - overlap, f, overlap), cells[t], out=cells[t + 1])
            cells[t + 1].addcmul_(torch.addcmul(i_master - overlap, i, overlap), u)
            torch.tanh(cells[t + 1], out=tanh[t])
            torch.mul(o, tanh[t], out=states[t + 1].view(batch, m, chunk))
        distances = 1 - masters[:, :, 1].mean(-1)
        ctx.save_for_backward(weight, gates, masters, states, cells, tanh)
        ctx.mark_non_differentiable(distances)
        return states[1:], distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, gates, masters, states, cells, tanh = ctx.saved_tensors
        steps, batch, width = gates.shape
        m, chunk = cells.shape[2:]
        grads = torch.empty_like(gates)
        of_state, of_cell = torch.zeros_like(states[0]), torch.zeros_like(cells[0])
        for t in range(steps - 1, -1, -1):
            own, grad = gates[t], grads[t]
            o, u, i, f = own[:, 2 * m :].view(batch, 4, m, chunk).unbind(1)
            to_o, to_u, to_i, to_f = grad[:, 2 * m :].view(batch, 4, m, chunk).unbind(1)
            i_master, f_master, overlap = _masters(masters[t])
            # h = o tanh(c)
            through = (of_state + wanted[t]).view(batch, m, chunk).mul_(o)
            torch.mul(through * tanh[t], 1 - o, out=to_o)
            of_cell = of_cell + through.addcmul_(through * tanh[t], tanh[t], value=-1)
            # c = f^ c' + i^ u
            of_f, of_i = of_cell * cells[t], of_cell * u
            torch.mul(of_cell * torch.addcmul(i_master - overlap, i, overlap), 1 - u * u, out=to_u)
            of_cell = of_cell * torch.addcmul(f_master - overlap, f, overlap)
            # f^ = f w + (f~ - w), i^ = i w + (i~ - w), w = f~ i~
            less_f, less_i = f - 1, i - 1
            of_overlap = torch.addcmul(of_f * less_f, of_i, less_i).sum(-1)
            of_masters = torch.stack([of_i.sum(-1), of_f.sum(-1)], 1).addcmul_(
                of_overlap.unsqueeze(1), masters[t].flip(1)
            )
            torch.mul(of_f * overlap, less_f.mul_(f).neg_(), out=to_f)
            torch.mul(of_i * overlap, less_i.mul_(i).neg_(), out=to_i)
            # f~ = cumsum(softmax), i~ = 1 - cumsum(softmax)
            of_masters[:, 0].neg_()
            soft = own[:, : 2 * m].view(batch, 2, m)
            of_soft = of_masters.flip(-1).cumsum(-1).flip(-1).mul_(soft)
            torch.sub(of_soft, soft * of_soft.sum(-1, keepdim=True), out=grad[:, : 2 * m].view(batch, 2, m))
            of_state = grad @ weight
        of_weight = grads.view(-1, width).t() @ states[:-1].reshape(steps * batch, -1)
        return grads, of_weight, None


def _masters(master: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the master input gate, the master forget gate and their overlap, (B, m, 1), from (B, 2, m)."""
    i_master, f_master = master.unsqueeze(-1).unbind(1)
    return i_master, f_master, i_master * f_master
