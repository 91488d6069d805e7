"""The best tree of any shape: pairwise compatible constituents with the most weight.

Constituents are sets of tokens, kept as bit masks. Two are compatible if they are nested or disjoint; any family of
pairwise compatible constituents, with the words and the whole sentence, is a tree. So the best tree is an independent
set of most weight in the graph of conflicts. Constituents that all teachers hold conflict with none. The rest falls
into connected components, each solved by branch and bound: the vertices of a graph are covered by cliques, each clique
can contribute at most its heaviest vertex, and only vertices that the cover leaves above the best known value are
branched on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeavg.kernels import kernel

U64 = NDArray[np.uint64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# Status of a sentence.
PROVED = 0
BUDGET = 1  # the node budget ran out; the tree is the best one found
OVERFLOW = 2  # weights with too many digits for whole numbers of 64 bits

_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_TABLE = np.array(
    [0, 1, 2, 53, 3, 7, 54, 27, 4, 38, 41, 8, 34, 55, 48, 28, 62, 5, 39, 46, 44, 42, 22, 9, 24, 35, 59, 56, 49, 18, 29,
     11, 63, 52, 6, 26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15,
     30, 14, 13, 12],
    np.int64,
)  # fmt: skip
_NO_LIMIT = 2**62
_DE_BRUIJN = np.uint64(0x022FDD63CC95386D)


@kernel
def lowest_bit(word: np.uint64) -> int:
    """Return the place of the lowest bit that is set; twin: a loop over bits."""
    return int(_TABLE[((word & (~word + _ONE)) * _DE_BRUIJN) >> np.uint64(58)])


@kernel
def conflict(masks: U64, codes: I32, one: int, other: int) -> bool:
    """Tell whether two constituents overlap without being nested, or are one with two labels; twin: ``conflicts``."""
    common = False
    one_more = False
    other_more = False
    for word in range(masks.shape[1]):
        both = masks[one, word] & masks[other, word]
        if both != _ZERO:
            common = True
        if masks[one, word] & ~both != _ZERO:
            one_more = True
        if masks[other, word] & ~both != _ZERO:
            other_more = True
    if not one_more and not other_more:
        return bool(codes[one] != codes[other])
    return common and one_more and other_more


@kernel
def collect(
    length: int,
    sentence: int,
    offsets: I64,
    block_offsets: I64,
    starts: I32,
    ends: I32,
    labels: I32,
    weights: I64,
    masks: U64,
    codes: I32,
    hits: I64,
    holders: I32,
    rows: I64,
    sizes: I64,
) -> int:
    """Gather the distinct constituents of one sentence, words and the whole sentence aside; twin: ``naive.candidates``.

    `labels` gives each row a code; constituents with different codes are different (all 0 where labels do not matter).
    `masks` (C, words), `codes` (label), `hits` (summed weight), `holders` (teachers of positive weight), `rows` (one
    row that has it)
    have room for the rows of all teachers; they come sorted by mask, whatever the order of teachers. `sizes` (K)
    receives the constituents of each teacher's tree, words and whole sentence included. Returns their number.
    """
    teachers = weights.shape[0]
    words = masks.shape[1]
    room = 1
    for teacher in range(teachers):
        room += offsets[teacher, sentence + 1] - offsets[teacher, sentence]
    buckets = 2
    while buckets < 2 * room:
        buckets *= 2
    table = np.full(buckets, -1, np.int64)
    owners = np.full(room, -1, np.int64)
    count = 0
    for teacher in range(teachers):
        sizes[teacher] = length + (1 if length > 1 else 0)
        for row in range(offsets[teacher, sentence], offsets[teacher, sentence + 1]):
            for word in range(words):
                masks[count, word] = _ZERO
            held = 0
            for block in range(block_offsets[row], block_offsets[row + 1]):
                held += ends[block] - starts[block]
                for token in range(starts[block], ends[block]):
                    masks[count, token >> 6] |= _ONE << np.uint64(token & 63)
            if held < 2 or held == length:
                continue
            codes[count] = labels[row]
            key = np.uint64(14695981039346656037) ^ np.uint64(labels[row])
            for word in range(words):
                key = (key ^ masks[count, word]) * np.uint64(0x9E3779B97F4A7C15)
                key ^= key >> np.uint64(29)
            slot = np.int64(key & np.uint64(buckets - 1))
            found = -1
            while table[slot] >= 0:
                same = codes[table[slot]] == codes[count]
                for word in range(words):
                    if masks[table[slot], word] != masks[count, word]:
                        same = False
                if same:
                    found = table[slot]
                    break
                slot = (slot + 1) & (buckets - 1)
            if found < 0:
                found = count
                table[slot] = count
                hits[count] = 0
                holders[count] = 0
                rows[count] = row
                count += 1
            if owners[found] != teacher:
                owners[found] = teacher
                sizes[teacher] += 1
                hits[found] += weights[teacher]
                if weights[teacher] > 0:
                    holders[found] += 1
    order = np.arange(count)
    spare = np.empty(count, np.int64)
    width = 1
    while width < count:  # merge sort from the bottom up, the later tokens first
        for begin in range(0, count, 2 * width):
            i = begin
            j = min(begin + width, count)
            stop_i = j
            stop_j = min(begin + 2 * width, count)
            for place in range(begin, stop_j):
                first = j == stop_j
                if not first and i < stop_i:
                    word = words - 1
                    while word > 0 and masks[order[i], word] == masks[order[j], word]:
                        word -= 1
                    first = masks[order[i], word] > masks[order[j], word] or (
                        masks[order[i], word] == masks[order[j], word] and codes[order[i]] < codes[order[j]]
                    )
                if first:
                    spare[place] = order[i]
                    i += 1
                else:
                    spare[place] = order[j]
                    j += 1
        order, spare = spare, order
        width *= 2
    kept_masks = masks[:count].copy()
    kept_codes = codes[:count].copy()
    kept_hits = hits[:count].copy()
    kept_holders = holders[:count].copy()
    kept_rows = rows[:count].copy()
    for place in range(count):
        for word in range(words):
            masks[place, word] = kept_masks[order[place], word]
        codes[place] = kept_codes[order[place]]
        hits[place] = kept_hits[order[place]]
        holders[place] = kept_holders[order[place]]
        rows[place] = kept_rows[order[place]]
    return count


@kernel
def cover(weights: I64, adjacency: U64, candidates: U64, slack: int, uncovered: U64) -> int:
    """Cover vertices by cliques, each paid for by its lightest member, as long as `slack` pays; twin: none needed.

    An independent set within the vertices that are covered weighs at most what was spent, which is returned;
    `uncovered` (words) receives the others.
    """
    words = candidates.shape[0]
    rest = weights.copy()
    pool = np.zeros(words, np.uint64)
    clique = np.empty(weights.shape[0], np.int64)
    spent = 0
    for word in range(words):
        uncovered[word] = candidates[word]
    for start in range(words):
        while uncovered[start]:
            first = 64 * start + lowest_bit(uncovered[start])
            clique[0] = first
            members = 1
            least = rest[first]
            for word in range(start, words):
                pool[word] = uncovered[word] & adjacency[first, word]
            for word in range(start, words):
                while pool[word]:
                    vertex = 64 * word + lowest_bit(pool[word])
                    clique[members] = vertex
                    members += 1
                    least = min(least, rest[vertex])
                    pool[word] &= pool[word] - _ONE
                    for other in range(word, words):
                        pool[other] &= adjacency[vertex, other]
            if least > slack - spent:
                return spent
            spent += least
            for place in range(members):
                vertex = clique[place]
                rest[vertex] -= least
                if rest[vertex] == 0:
                    uncovered[vertex >> 6] &= ~(_ONE << np.uint64(vertex & 63))
    return spent


@kernel
def take_dominant(weights: I64, adjacency: U64, left: U64, taken: U64) -> int:
    """Take each vertex at least as heavy as all its neighbours in `left` together; return what they weigh.

    Both sets (words) are changed. Twin: none needed, ``naive.best_independent_set`` judges the whole search.
    """
    words = left.shape[0]
    value = 0
    changed = True
    while changed:
        changed = False
        for word in range(words):
            bits = left[word]
            while bits:
                vertex = 64 * word + lowest_bit(bits)
                bit = bits & (~bits + _ONE)
                bits &= ~bit
                around = 0
                for other in range(words):
                    near = adjacency[vertex, other] & left[other]
                    while near:
                        around += weights[64 * other + lowest_bit(near)]
                        near &= near - _ONE
                    if around > weights[vertex]:
                        break
                if around <= weights[vertex]:
                    value += weights[vertex]
                    taken[word] |= bit
                    left[word] &= ~bit
                    for other in range(words):
                        left[other] &= ~adjacency[vertex, other]
                    bits &= left[word]
                    changed = True
    return value


@kernel
def next_component(adjacency: U64, left: U64, part: U64, fresh: U64) -> bool:
    """Move the component of the lowest vertex of `left` to `part` (words); tell whether there was one; twin: a walk."""
    words = left.shape[0]
    empty = True
    for word in range(words):
        part[word] = _ZERO
        fresh[word] = _ZERO
        if empty and left[word]:
            fresh[word] = left[word] & (~left[word] + _ONE)
            empty = False
    growing = not empty
    while growing:
        growing = False
        for word in range(words):
            while fresh[word]:
                vertex = 64 * word + lowest_bit(fresh[word])
                bit = fresh[word] & (~fresh[word] + _ONE)
                fresh[word] &= ~bit
                left[word] &= ~bit
                part[word] |= bit
                for place in range(words):
                    near = adjacency[vertex, place] & left[place] & ~fresh[place]
                    if near:
                        fresh[place] |= near
                        growing = True
    return not empty


@kernel
def search(weights: I64, adjacency: U64, candidates: U64, lower: int, chosen: U64, budget: int, nodes: I64) -> int:
    """Find an independent set among `candidates` (words) that weighs more than `lower`.

    `weights` (V), `adjacency` (V, words). Returns the most weight, with its set in `chosen`, or -1 where none is above
    `lower`. `nodes` (1) counts; once it has passed `budget`, a set that is returned need not be the heaviest. Twin:
    ``naive.best_independent_set``.
    """
    words = candidates.shape[0]
    nodes[0] += 1
    if nodes[0] > budget:
        return -1
    left = candidates.copy()
    base = np.zeros(words, np.uint64)
    part = np.empty(words, np.uint64)
    spare = np.empty(words, np.uint64)
    best_part = np.zeros(words, np.uint64)
    value = take_dominant(weights, adjacency, left, base)
    # Components: a constituent that was taken often parts those inside it from those outside. All but one are bounded
    # by their covers while one is solved.
    rest = left.copy()
    parts = 0
    while next_component(adjacency, rest, part, spare):
        parts += 1
    if parts != 1:
        total = value
        unlimited = int(np.int64(_NO_LIMIT))  # not a literal either
        sets = np.empty((parts, words), np.uint64)
        bounds = np.empty(parts, np.int64)
        for place in range(parts):
            next_component(adjacency, left, part, spare)
            bound = cover(weights, adjacency, part, unlimited, spare)
            total += bound
            spot = place
            while spot > 0 and bounds[spot - 1] > bound:  # the smallest bound first
                bounds[spot] = bounds[spot - 1]
                for word in range(words):
                    sets[spot, word] = sets[spot - 1, word]
                spot -= 1
            bounds[spot] = bound
            for word in range(words):
                sets[spot, word] = part[word]
        for place in range(parts):
            if total <= lower:
                return -1
            found = search(
                weights, adjacency, sets[place], lower - total + bounds[place], best_part, budget, nodes
            )  # fmt: skip
            if found < 0:
                return -1
            total += found - bounds[place]
            for word in range(words):
                base[word] |= best_part[word]
        if total <= lower:
            return -1
        for word in range(words):
            chosen[word] = base[word]
        return total
    best = -1
    known = lower
    branches = np.zeros(words, np.uint64)
    cover(weights, adjacency, left, known - value, branches)
    word = 0
    while word < words:
        if not branches[word]:
            word += 1
            continue
        vertex = 64 * word + lowest_bit(branches[word])
        bit = branches[word] & (~branches[word] + _ONE)
        left[word] &= ~bit
        branches[word] &= ~bit
        for other in range(words):
            part[other] = left[other] & ~adjacency[vertex, other]
        found = search(weights, adjacency, part, known - value - weights[vertex], best_part, budget, nodes)
        if found >= 0:
            best = value + weights[vertex] + found
            known = best
            for other in range(words):
                chosen[other] = base[other] | best_part[other]
            chosen[word] |= bit
            cover(weights, adjacency, left, known - value, branches)
            word = 0
    return best


@kernel
def heaviest_family(
    masks: U64, codes: I32, weights: I64, count: int, chosen: NDArray[np.bool_], budget: int, counts: I64
) -> int:
    """Choose pairwise compatible constituents of most weight; twin: ``naive.best_family``.

    `masks` (C, words), `codes` (C), `weights` (C): those that are not positive are never chosen. `chosen` (C) holds a
    known
    compatible family and receives the best one. `counts` (3): nodes, largest component, vertices; the first two grow.
    Returns PROVED or BUDGET.
    """
    live = np.empty(count, np.int64)
    size = 0
    for candidate in range(count):
        if weights[candidate] > 0:
            live[size] = candidate
            size += 1
        else:
            chosen[candidate] = False
    live = live[:size]
    counts[2] = size
    # Most weight for a conflict first, ties by mask: covers become tight, and nothing depends on the order of teachers.
    conflicts = np.ones(size, np.int64)
    for i in range(size):
        for j in range(i + 1, size):
            if conflict(masks, codes, live[i], live[j]):
                conflicts[i] += 1
                conflicts[j] += 1
    order = np.arange(size)
    spare = np.empty(size, np.int64)
    width = 1
    while width < size:
        for begin in range(0, size, 2 * width):
            i = begin
            j = min(begin + width, size)
            stop_i = j
            stop_j = min(begin + 2 * width, size)
            for place in range(begin, stop_j):
                first = j == stop_j
                if not first and i < stop_i:
                    one = weights[live[order[i]]] / conflicts[order[i]]
                    other = weights[live[order[j]]] / conflicts[order[j]]
                    first = one >= other
                if first:
                    spare[place] = order[i]
                    i += 1
                else:
                    spare[place] = order[j]
                    j += 1
        order, spare = spare, order
        width *= 2
    for place in range(size):
        spare[place] = live[order[place]]
    live = spare
    degree = np.zeros(size + 1, np.int64)
    for i in range(size):
        for j in range(i + 1, size):
            if conflict(masks, codes, live[i], live[j]):
                degree[i + 1] += 1
                degree[j + 1] += 1
    for i in range(size):
        degree[i + 1] += degree[i]
    neighbours = np.empty(degree[size], np.int64)
    fill = degree[:size].copy()
    for i in range(size):
        for j in range(i + 1, size):
            if conflict(masks, codes, live[i], live[j]):
                neighbours[fill[i]] = j
                fill[i] += 1
                neighbours[fill[j]] = i
                fill[j] += 1
    # Number the components; within each, vertices keep their order.
    component = np.full(size, -1, np.int64)
    members = np.empty(size, np.int64)
    bounds = np.zeros(size + 1, np.int64)
    parts = 0
    for root in range(size):
        if component[root] >= 0:
            continue
        component[root] = parts
        members[0] = root
        found = 1
        place = 0
        while place < found:
            for edge in range(degree[members[place]], degree[members[place] + 1]):
                other = neighbours[edge]
                if component[other] < 0:
                    component[other] = parts
                    members[found] = other
                    found += 1
            place += 1
        parts += 1
        bounds[parts] = bounds[parts - 1] + found
        counts[1] = max(counts[1], found)
    fill = bounds[:size].copy() if size else bounds[:0].copy()
    local = np.empty(size, np.int64)
    for vertex in range(size):
        part = component[vertex]
        local[vertex] = fill[part] - bounds[part]
        members[fill[part]] = vertex
        fill[part] += 1
    status = PROVED
    for part in range(parts):
        found = bounds[part + 1] - bounds[part]
        inside = members[bounds[part] : bounds[part + 1]]
        if found == 1:
            chosen[live[inside[0]]] = True
            continue
        words = (found + 63) // 64
        adjacency = np.zeros((found, words), np.uint64)
        own = np.empty(found, np.int64)
        best = np.zeros(words, np.uint64)
        for place in range(found):
            vertex = inside[place]
            own[place] = weights[live[vertex]]
            if chosen[live[vertex]]:
                best[place >> 6] |= _ONE << np.uint64(place & 63)
            for edge in range(degree[vertex], degree[vertex + 1]):
                other = local[neighbours[edge]]
                adjacency[place, other >> 6] |= _ONE << np.uint64(other & 63)
        nodes = np.zeros(1, np.int64)
        known = int(np.int64(0))  # not a literal, for which Numba would compile the search once more
        greedy = 0
        everything = np.zeros(words, np.uint64)
        picked = np.zeros(words, np.uint64)
        for place in range(found):
            bit = _ONE << np.uint64(place & 63)
            everything[place >> 6] |= bit
            if best[place >> 6] & bit:
                known += own[place]
            apart = True
            for word in range(words):
                if adjacency[place, word] & picked[word]:
                    apart = False
            if apart:
                picked[place >> 6] |= bit
                greedy += own[place]
        if greedy > known:
            known = greedy
            for word in range(words):
                best[word] = picked[word]
        search(own, adjacency, everything, known, best, budget, nodes)
        counts[0] += nodes[0]
        if nodes[0] > budget:
            status = BUDGET
        for place in range(found):
            chosen[live[inside[place]]] = (best[place >> 6] >> np.uint64(place & 63)) & _ONE != _ZERO
    return status


@kernel
def greatest_divisor(one: int, other: int) -> int:
    """Return the greatest common divisor of two positive numbers; twin: math.gcd."""
    while other:
        one, other = other, one % other
    return one


@kernel
def best_trees(
    lengths: I32,
    first: int,
    last: int,
    offsets: I64,
    block_offsets: I64,
    starts: I32,
    ends: I32,
    labels: I32,
    weights: I64,
    ratio: bool,
    numerator: int,
    denominator: int,
    budget: int,
    out_offsets: I64,
    out_rows: I64,
    out_counts: I64,
    reports: I64,
) -> None:
    """Find the best tree of sentences `first` to `last`, any shape; twin: ``naive.best_family`` over all families.

    `offsets` (K, N + 1) points into the teachers' constituents, whose blocks are ``block_offsets[row]`` to
    ``block_offsets[row + 1]`` and whose labels have codes (all 0 where labels do not matter).
    Without `ratio` the sum of ``hits - numerator / denominator * (sum of weights)`` is
    maximised; with it F-beta pooled over teachers, where beta squared is numerator / denominator, by Dinkelbach's
    iteration. What all teachers hold is always kept; beyond it, of equal trees one with the fewest constituents is
    taken. Sentence s gets ``out_counts[s]`` rows (of the
    teachers, one for each constituent; words and whole sentence left out) from ``out_offsets[s]`` on, where there is
    room for n - 2. `reports` (N, 6) receives: status, nodes, largest component, vertices, and value or ratio as p, q.
    """
    teachers = weights.shape[0]
    total = 0
    voters = 0
    for teacher in range(teachers):
        total += weights[teacher]
        if weights[teacher] > 0:
            voters += 1
    sizes = np.zeros(teachers, np.int64)
    for sentence in range(first, last):
        n = lengths[sentence]
        out_counts[sentence] = 0
        for column in range(6):
            reports[sentence, column] = 0
        reports[sentence, 5] = 1
        if n < 2:
            continue
        room = 1
        for teacher in range(teachers):
            room += offsets[teacher, sentence + 1] - offsets[teacher, sentence]
        masks = np.empty((room, (n + 63) // 64), np.uint64)
        codes = np.empty(room, np.int32)
        hits = np.empty(room, np.int64)
        holders = np.empty(room, np.int32)
        rows = np.empty(room, np.int64)
        count = collect(
            n, sentence, offsets, block_offsets, starts, ends, labels, weights, masks, codes, hits, holders, rows, sizes
        )  # fmt: skip
        # The words, the whole sentence and what all teachers hold are in every best tree.
        base = n + 1
        free = 0
        for candidate in range(count):
            if holders[candidate] == voters:
                base += 1
        p = numerator * total
        q = denominator
        if ratio:
            pooled = 0
            for teacher in range(teachers):
                pooled += weights[teacher] * sizes[teacher]
            if float(total) * base * total * denominator > 4e18 or float(numerator) * pooled > 4e18:
                reports[sentence, 0] = OVERFLOW
                continue
            p = total * base * total * denominator
            q = base * total * denominator + numerator * pooled
            common = greatest_divisor(p, q)
            p //= common
            q //= common
        values = np.zeros(count, np.int64)
        chosen = np.zeros(count, np.bool_)
        counts = np.zeros(3, np.int64)
        status = PROVED
        while True:
            if (float(total) * q + p) * (count + 1.0) * (2.0 * n) > 4e18:
                status = OVERFLOW
                break
            before = 0
            for candidate in range(count):
                values[candidate] = hits[candidate] * q - p
                if holders[candidate] == voters:
                    values[candidate] = 0
                if chosen[candidate]:
                    before += values[candidate]
            # Where the weight is equal, fewer constituents: one step below the smallest difference of weights.
            for candidate in range(count):
                if values[candidate] > 0:
                    values[candidate] = values[candidate] * (count + 1) - 1
            status = max(status, heaviest_family(masks, codes, values, count, chosen, budget, counts))
            after = 0
            taken = 0
            gained = 0
            for candidate in range(count):
                if chosen[candidate]:
                    after += hits[candidate] * q - p
                    gained += hits[candidate]
                    taken += 1
            if not ratio:
                reports[sentence, 4] = after
                reports[sentence, 5] = q
                break
            if after <= before:
                reports[sentence, 4] = p
                reports[sentence, 5] = q
                break
            p = (total * base + gained) * total * denominator
            q = (base + taken) * total * denominator + numerator * pooled
            common = greatest_divisor(p, q)
            p //= common
            q //= common
        reports[sentence, 0] = status
        reports[sentence, 1] = counts[0]
        reports[sentence, 2] = counts[1]
        reports[sentence, 3] = max(reports[sentence, 3], counts[2])
        free = out_offsets[sentence]
        for candidate in range(count):
            if chosen[candidate] or holders[candidate] == voters:
                out_rows[free] = rows[candidate]
                free += 1
        out_counts[sentence] = free - out_offsets[sentence]
