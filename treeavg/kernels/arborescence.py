"""Dependency trees of any shape with exactly one root: most votes for arcs (Chu-Liu, Edmonds)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@kernel
def best_arborescence(
    lengths: I32, first: int, last: int, token_offsets: I64, heads: I32, bases: I64, weights: I64, out: I32, totals: I64
) -> None:
    """Write the tree with one root that has the most votes; twin: ``naive.best_arborescence``.

    `heads` are the teachers' columns end to end, teacher k's from ``bases[k]`` on; 0 is the root. `out` (T) receives
    heads, `totals` (N) the votes. Arcs are compared first by whether they leave the root (one that does is worse), then
    by votes: a root arc costs more than all votes together, so as few leave the root as can, which is one. Ties: the
    smallest head.
    """
    total = 0
    for teacher in range(weights.shape[0]):
        total += weights[teacher]
    longest = 0
    for sentence in range(first, last):
        longest = max(longest, lengths[sentence])
    nodes = longest + 1
    score = np.empty((nodes, nodes), np.int64)
    # The arc of the sentence that stands behind an arc of the contracted graph.
    tail = np.empty((nodes, nodes), np.int64)
    tip = np.empty((nodes, nodes), np.int64)
    best = np.empty(nodes, np.int64)  # best head of each live node
    live = np.empty(nodes, np.bool_)
    mark = np.empty(nodes, np.int64)
    inside = np.empty(nodes, np.bool_)
    # A contraction keeps, for each node of the cycle, the arc within the cycle; undone backwards.
    cycle_nodes = np.empty(2 * nodes, np.int64)
    cycle_tails = np.empty(2 * nodes, np.int64)
    cycle_tips = np.empty(2 * nodes, np.int64)
    cycle_bounds = np.empty(nodes + 1, np.int64)
    group = np.empty(nodes, np.int64)  # the contracted node that a node is part of, as seen from one level
    chosen = np.empty(nodes, np.int64)
    for sentence in range(first, last):
        n = lengths[sentence]
        begin = token_offsets[sentence]
        totals[sentence] = 0
        if n == 0:
            continue
        root_cost = total * n + 1
        for head in range(n + 1):
            live[head] = True
            for word in range(n + 1):
                score[head, word] = -root_cost if head == 0 else 0
                tail[head, word] = head
                tip[head, word] = word
        for teacher in range(weights.shape[0]):
            for word in range(n):
                score[heads[bases[teacher] + begin + word], word + 1] += weights[teacher]
        contractions = 0
        cycle_bounds[0] = 0
        while True:
            for word in range(1, n + 1):
                if live[word]:
                    best[word] = -1
                    for head in range(n + 1):
                        if (
                            live[head]
                            and head != word
                            and (best[word] < 0 or score[head, word] > score[best[word], word])
                        ):
                            best[word] = head
            # Look for a cycle among the best arcs.
            for node in range(n + 1):
                mark[node] = -1
                inside[node] = False
            start = -1
            for word in range(1, n + 1):
                node = word
                while start < 0 and node > 0 and live[node] and mark[node] < 0:
                    mark[node] = word
                    node = best[node]
                    if node > 0 and mark[node] == word:
                        start = node
            if start < 0:
                break
            # Contract it into `start`: an arc into the cycle pays for the arc that it replaces.
            place = cycle_bounds[contractions]
            node = start
            while not inside[node]:
                inside[node] = True
                cycle_nodes[place] = node
                cycle_tails[place] = tail[best[node], node]
                cycle_tips[place] = tip[best[node], node]
                place += 1
                node = best[node]
            contractions += 1
            cycle_bounds[contractions] = place
            for node in range(n + 1):
                if live[node] and inside[node] and node > 0:
                    own = score[best[node], node]
                    for other in range(n + 1):
                        if live[other] and not inside[other]:
                            score[other, node] -= own
            for other in range(n + 1):
                if live[other] and not inside[other]:
                    out_best = -1
                    in_best = -1
                    for node in range(1, n + 1):
                        if live[node] and inside[node]:
                            if out_best < 0 or score[node, other] > score[out_best, other]:
                                out_best = node
                            if in_best < 0 or score[other, node] > score[other, in_best]:
                                in_best = node
                    value, arc_tail, arc_tip = score[out_best, other], tail[out_best, other], tip[out_best, other]
                    score[start, other], tail[start, other], tip[start, other] = value, arc_tail, arc_tip
                    value, arc_tail, arc_tip = score[other, in_best], tail[other, in_best], tip[other, in_best]
                    score[other, start], tail[other, start], tip[other, start] = value, arc_tail, arc_tip
            for node in range(1, n + 1):
                if inside[node] and node != start:
                    live[node] = False
        for word in range(n + 1):
            chosen[word] = -1
        for word in range(1, n + 1):
            if live[word]:
                chosen[tip[best[word], word]] = tail[best[word], word]
        # Undo contractions, the last first: keep the arcs of a cycle but the one into the node that is entered.
        for level in range(contractions - 1, -1, -1):
            low = cycle_bounds[level]
            high = cycle_bounds[level + 1]
            for node in range(n + 1):
                group[node] = node
            for earlier in range(level):
                # Nodes that were contracted earlier stand for their cycle's start.
                anchor = cycle_nodes[cycle_bounds[earlier]]
                for place in range(cycle_bounds[earlier], cycle_bounds[earlier + 1]):
                    member = cycle_nodes[place]
                    for node in range(n + 1):
                        if group[node] == member:
                            group[node] = anchor
            entered = -1
            for node in range(1, n + 1):
                if chosen[node] >= 0:
                    for place in range(low, high):
                        if cycle_nodes[place] == group[node]:
                            entered = group[node]
            for place in range(low, high):
                if cycle_nodes[place] != entered:
                    chosen[cycle_tips[place]] = cycle_tails[place]
        for word in range(1, n + 1):
            out[begin + word - 1] = chosen[word]
            if chosen[word] == 0:
                totals[sentence] += root_cost
        for teacher in range(weights.shape[0]):
            for word in range(n):
                if out[begin + word] == heads[bases[teacher] + begin + word]:
                    totals[sentence] += weights[teacher]
        totals[sentence] -= root_cost
