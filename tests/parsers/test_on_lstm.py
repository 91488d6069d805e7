"""ON-LSTM: the recurrence and its gradients against plain loops, regularisers, trees from distances, the parser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import says
from numpy.typing import NDArray
from tiny import right_trees, sentences
from torch import Tensor

from parsers.nn.vocabulary import END, UNKNOWN
from parsers.on_lstm.cell import recurrence
from parsers.on_lstm.distances import scores_of, spans_of, trees_of
from parsers.on_lstm.network import ONLSTMNetwork, OrderedLayer
from parsers.on_lstm.on_lstm import ONLSTM, ONLSTMTask, rows_of
from parsers.on_lstm.options import ONLSTMOptions
from parsers.text_task import Text
from parsers.training import NonFiniteError, Progress, StepReport, TrainingConfig
from treeavg.errors import ArgumentError

OPTIONS = ONLSTMOptions(embedding=8, hidden=12, chunk=4, batch_tokens=60)
TRAINING = TrainingConfig(epochs=2, learning_rate=0.01, seed=3)
WORDS = sentences(40)
NO_DROPOUT: dict[str, Any] = {f"{name}_dropout": 0.0 for name in ("word", "input", "layer", "output", "weight")}


def fit(folder: Path, words: list[list[str]] = WORDS, **options: Any) -> ONLSTM:
    given: dict[str, Any] = {"options": OPTIONS, "training": TRAINING, "device": "cpu"}
    return ONLSTM.fit(words, folder=folder, **{**given, **options})


def network(seed: int = 0, words: int = 9, **options: Any) -> ONLSTMNetwork:
    """Return a network with weights that are not small, so that its gates differ."""
    torch.manual_seed(seed)
    model = ONLSTMNetwork(replace(OPTIONS, **options), words)
    with torch.no_grad():
        for part in model.parameters():
            part.copy_(torch.randn_like(part))
    return model


# ---------------------------------------------------------------------- the recurrence


def slow_cell(gates: Tensor, weight: Tensor, chunk: int, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the state, the memory and the distance after a word of one sentence: the equations, neuron by neuron."""
    size = weight.shape[1]
    m = size // chunk
    logits = [gates[k] + sum(weight[k, j] * state[j] for j in range(size)) for k in range(len(gates))]

    def cumax(part: list[Any]) -> list[Any]:
        total = sum(torch.exp(value) for value in part)
        return [sum(torch.exp(value) for value in part[: k + 1]) / total for k in range(m)]

    i_master = [1 - value for value in cumax(logits[:m])]
    f_master = cumax(logits[m : 2 * m])
    states, cells = [], []
    for k in range(m):
        for c in range(chunk):
            at = 2 * m + k * chunk + c
            o, i, f = (torch.sigmoid(logits[at + block * size]) for block in (0, 2, 3))
            u = torch.tanh(logits[at + size])
            overlap = i_master[k] * f_master[k]
            keep = f * overlap + (f_master[k] - overlap)
            write = i * overlap + (i_master[k] - overlap)
            cells.append(keep * cell[k * chunk + c] + write * u)
            states.append(o * torch.tanh(cells[-1]))
    return torch.stack(states), torch.stack(cells), 1 - sum(f_master) / m


def slow_recurrence(gates: Tensor, weight: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    rows, distances = [], []
    for row in range(gates.shape[1]):
        state = cell = gates.new_zeros(weight.shape[1])
        own, erased = [], []
        for step in range(len(gates)):
            state, cell, distance = slow_cell(gates[step, row], weight, chunk, state, cell)
            own.append(state)
            erased.append(distance)
        rows.append(torch.stack(own))
        distances.append(torch.stack(erased))
    return torch.stack(rows, 1), torch.stack(distances, 1)


@pytest.mark.parametrize(("steps", "batch", "m", "chunk"), [(1, 1, 1, 1), (3, 2, 3, 2), (4, 1, 1, 3), (5, 3, 4, 1)])
def test_recurrence_is_its_slow_twin(steps: int, batch: int, m: int, chunk: int) -> None:
    """States, distances and both gradients, which are derived by hand."""
    generator = torch.Generator().manual_seed(steps)
    size = m * chunk
    gates = torch.randn(steps, batch, 4 * size + 2 * m, dtype=torch.float64, generator=generator).mul_(2)
    weight = torch.randn(4 * size + 2 * m, size, dtype=torch.float64, generator=generator)
    towards = torch.randn(steps, batch, size, dtype=torch.float64, generator=generator)
    gates.requires_grad_()
    weight.requires_grad_()
    states, distances = recurrence(gates, weight, chunk)
    slow_states, slow_distances = slow_recurrence(gates, weight, chunk)
    assert torch.allclose(states, slow_states, atol=1e-12)
    assert torch.allclose(distances, slow_distances, atol=1e-12)
    assert not distances.requires_grad
    fast = torch.autograd.grad((states * towards).sum(), (gates, weight))
    slow = torch.autograd.grad((slow_states * towards).sum(), (gates, weight))
    for own, other in zip(fast, slow, strict=True):
        assert torch.allclose(own, other, atol=1e-12)


def test_recurrence_gradcheck() -> None:
    """Against differences; a state that is not looked at has no gradient."""
    torch.manual_seed(1)
    gates = torch.randn(3, 2, 18, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(18, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *parts: recurrence(*parts, 4)[0][:2], (gates, weight))


def master_gates(logits: Tensor, chunk: int = 1) -> tuple[Tensor, Tensor]:
    """Return the master gates of the first word, by the memory it writes where all other gates are wide open.

    With f = i = 1 the memory is f~ c + i~ u; with u = 1 and c = 0 it is i~. The forget gate shows in a second word
    that writes nothing.
    """
    m = logits.shape[-1] // 2
    gates = torch.full((1, 1, 4 * m + 2 * m), 50.0, dtype=torch.float64)
    gates[0, 0, : 2 * m] = logits
    i_master = torch.atanh(recurrence(gates, gates.new_zeros(6 * m, m), 1)[0][0, 0])
    first = gates.clone()
    first[0, 0, : 2 * m] = torch.tensor([-50.0] * (m - 1) + [50.0] + [0.0] * m)  # writes 1 nearly everywhere
    second = gates.clone()
    second[0, 0, : 2 * m] = torch.cat([torch.tensor([50.0] + [-50.0] * (m - 1)), logits[m:]])  # writes nothing
    state = recurrence(torch.cat([first, second]), gates.new_zeros(6 * m, m), 1)[0]
    return i_master, torch.atanh(state[1, 0]) / torch.atanh(state[0, 0])


def test_master_gates_of_zero_logits() -> None:
    i_master, f_master = master_gates(torch.zeros(8, dtype=torch.float64))
    assert torch.allclose(i_master, torch.tensor([0.75, 0.5, 0.25, 0.0], dtype=torch.float64), atol=1e-9)
    assert torch.allclose(f_master[:3], torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), atol=1e-9)
    _, distances = recurrence(torch.zeros(1, 1, 24), torch.zeros(24, 4), 1)
    assert distances.item() == pytest.approx(0.375)


def test_master_gates_are_monotone() -> None:
    """The input gate falls to 0, the forget gate rises; the distance lies from 0 to 1 - 1/m."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        logits = torch.randn(10, dtype=torch.float64, generator=generator) * 3
        i_master, f_master = master_gates(logits)
        assert i_master[-1].abs() < 1e-9
        assert (i_master.diff() <= 0).all()
        assert (f_master[:-1].diff() >= 0).all()
        assert torch.allclose(f_master[:-1], torch.softmax(logits[5:], 0).cumsum(0)[:-1], atol=1e-6)
    for place, expected in ((0, 0.0), (3, 0.75)):
        gates = torch.zeros(1, 1, 24)
        gates[0, 0, 4 + place] = 100
        assert recurrence(gates, torch.zeros(24, 4), 1)[1].item() == pytest.approx(expected, abs=1e-6)


def test_without_overlap_the_masters_decide() -> None:
    """Where the master gates do not meet, the memory is f~ c + i~ u, whatever the other gates say."""
    torch.manual_seed(0)
    apart = torch.tensor([-60.0, 60, -60, -60, -60, -60, 60, -60])  # i~ = 1 0 0 0, f~ = 0 0 1 1
    gates = torch.randn(2, 1, 24)
    gates[:, 0, :8] = apart
    states, _ = recurrence(gates, torch.zeros(24, 4), 1)
    o, u = torch.sigmoid(gates[:, 0, 8:12]), torch.tanh(gates[:, 0, 12:16])
    expected = o * torch.tanh(u * torch.tensor([1.0, 0, 0, 0]))
    assert torch.allclose(states[:, 0], expected, atol=1e-6)


# ---------------------------------------------------------------------- regularisers


def test_weight_dropout_keeps_its_expectation() -> None:
    """Kept weights are not scaled up; in evaluation all are scaled down to the mean over masks."""
    torch.manual_seed(0)
    layer = OrderedLayer(4, 6, 2, 0.4)
    state = torch.randn(6)
    masks = [layer.recurrent_weight() for _ in range(4000)]
    weight = layer.recurrent.weight
    assert all(((mask == 0) | (mask == weight)).all() for mask in masks[:20])
    mean = torch.stack([mask @ state for mask in masks]).mean(0)
    layer.eval()
    assert torch.equal(layer.recurrent_weight(), weight * 0.6)
    assert torch.allclose(mean, layer.recurrent_weight() @ state, atol=0.02)


def test_dropouts_are_locked() -> None:
    """Words are dropped by type; features of word vectors for a whole sentence."""
    ids = torch.randint(4, 300, (3, 50))
    torch.manual_seed(0)
    model = ONLSTMNetwork(replace(OPTIONS, embedding=200, hidden=200, input_dropout=0.5), 300)
    vectors = model._vectors(ids)
    read = torch.cat([torch.full((3, 1), END), ids], 1).t()
    dropped = (vectors == 0).all(-1)
    types = {int(word) for word in read[dropped]}
    assert 10 < len(types) < 60  # about 0.1 of 300
    assert not types & {int(word) for word in read[~dropped]}
    for row in range(3):
        kept = vectors[~dropped[:, row], row]
        locked = (kept == 0).all(0)
        assert 70 < int(locked.sum()) < 130
        assert (kept[:, ~locked] != 0).all()
    plain = model.embedding(read) / (0.9 * 0.5)
    assert torch.allclose(vectors[vectors != 0], plain[vectors != 0])
    assert torch.equal(model.eval()._vectors(ids), model.embedding(read))


def test_output_shares_the_word_vectors() -> None:
    model = network()
    names = {name for name, _ in model.named_parameters() if name.startswith(("embedding", "bias"))}
    assert names == {"embedding.weight", "bias"}
    before = model.eval()(torch.tensor([[4]]), torch.tensor([1]))
    with torch.no_grad():
        model.embedding.weight[8] += 1  # a word that is not read, only weighed against
    assert model(torch.tensor([[4]]), torch.tensor([1])) != before


@torch.no_grad()
def slow_loss(model: ONLSTMNetwork, words: list[int]) -> tuple[float, float, float]:
    """Return the cross-entropy of a sentence and the sums of the two penalties, by plain loops."""
    vectors: list[Any] = [model.embedding.weight[word] for word in [END, *words]]
    for layer in model.layers:
        assert isinstance(layer, OrderedLayer)
        gates = [layer.input.weight @ vector + layer.input.bias + layer.recurrent.bias for vector in vectors]
        states, _ = slow_recurrence(torch.stack(gates).unsqueeze(1), layer.recurrent.weight, layer.chunk)
        vectors = list(states[:, 0])
    entropy = activation = temporal = 0.0
    for place, (state, target) in enumerate(zip(vectors, [*words, END], strict=True)):
        entropy -= float(torch.log_softmax(model.embedding.weight @ state + model.bias, 0)[target])
        activation += sum(float(value) ** 2 for value in state) / len(state)
        if place:
            change = state - vectors[place - 1]
            temporal += sum(float(value) ** 2 for value in change) / len(state)
    return entropy, activation, temporal


def test_loss_by_hand() -> None:
    """Each word is predicted from those before, the end too; the penalties count in training; padding does not."""
    model = network(hidden=8, activation=2.0, temporal=0.5, **NO_DROPOUT)
    rows = [[4, 5, 6], [7], [8, 4]]
    ids, lengths = torch.tensor([[4, 5, 6], [7, 0, 0], [8, 4, 0]]), torch.tensor([3, 1, 2])
    parts = [slow_loss(model, row) for row in rows]
    entropy = sum(part[0] for part in parts)
    whole = sum(part[0] + 2 * part[1] + 0.5 * part[2] for part in parts)
    assert model(ids, lengths).item() == pytest.approx(whole, rel=1e-5)
    assert whole > entropy + 0.1
    assert model.eval()(ids, lengths).item() == pytest.approx(entropy, rel=1e-5)


def test_padding_changes_nothing() -> None:
    """Distances of a sentence alone are those in a padded batch."""
    model = network().eval()
    ids = torch.randint(4, 9, (3, 10))
    with torch.no_grad():
        together = model.distances(ids)
        for row, length in enumerate((10, 4, 1)):
            ids[row, length:] = 0
            alone = model.distances(ids[row : row + 1, :length])
            assert torch.allclose(alone[0], together[row, :length], atol=1e-6)
        assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_distances_are_the_reading_layers() -> None:
    """The second of three layers by default; those above are not run; distances stand in front of words."""
    model = network().eval()
    ids = torch.tensor([[4, 5, 6]])
    vectors = model._vectors(ids)
    for layer in model.layers[:2]:
        vectors, expected = layer(vectors)
    assert torch.equal(model.distances(ids), expected[1:].t())
    with torch.no_grad():
        model.layers[2].input.weight.fill_(math.nan)
    assert torch.equal(model.distances(ids), expected[1:].t())
    model.options = replace(model.options, reading_layer=1)
    assert not torch.equal(model.distances(ids), expected[1:].t())


# ---------------------------------------------------------------------- trees from distances


def nested(distances: Sequence[float], words: Sequence[Any], reading: str) -> Any:
    """Return the tree as nested pairs: the rule, word for word."""
    if len(words) == 1:
        return words[0]
    if reading == "unbiased":
        i = 1 + max(range(len(words) - 1), key=lambda t: (distances[t + 1], -t))
        return nested(distances[:i], words[:i], reading), nested(distances[i:], words[i:], reading)
    i = max(range(len(words)), key=lambda t: (distances[t], -t))
    right = words[i] if i == len(words) - 1 else (words[i], nested(distances[i + 1 :], words[i + 1 :], reading))
    return right if i == 0 else (nested(distances[:i], words[:i], reading), right)


def spans_in(tree: Any) -> list[tuple[int, int]]:
    """Return the spans of nested pairs of positions, in pre-order."""

    def leaves(part: Any) -> list[int]:
        return [part] if isinstance(part, int) else [*leaves(part[0]), *leaves(part[1])]

    if isinstance(tree, int):
        return []
    own = leaves(tree)
    return [(own[0], own[-1] + 1), *spans_in(tree[0]), *spans_in(tree[1])]


@pytest.mark.parametrize(
    ("distances", "tree"),
    [
        ([0.1, 0.9, 0.2, 0.5], (0, (1, (2, 3)))),
        ([0.9, 0.1, 0.5, 0.3, 0.7], (0, ((1, (2, 3)), 4))),
        ([0.3, 0.2, 0.1, 0.9], ((0, (1, 2)), 3)),
        ([0.1, 0.2, 0.3, 0.4], (((0, 1), 2), 3)),
        ([0.5] * 5, (0, (1, (2, (3, 4))))),
        ([0.3], 0),
        ([0.3, 0.4], (0, 1)),
        ([0.4, 0.3], (0, 1)),
    ],
)
def test_trees_of_the_specification(distances: list[float], tree: Any) -> None:
    assert spans_of(np.array(distances), "original") == spans_in(tree)


@pytest.mark.parametrize("reading", ["original", "unbiased"])
def test_trees_are_their_recursive_twins(reading: str) -> None:
    """On random distances with many ties; padding is not looked at."""
    generator = np.random.default_rng(0)
    rows: list[NDArray[np.float64]] = []
    for _ in range(300):
        rows.append(generator.integers(0, 6, generator.integers(1, 12)) / 8)
        expected = spans_in(nested(rows[-1].tolist(), range(len(rows[-1])), reading))
        assert spans_of(rows[-1], reading) == expected
        assert len(expected) == len(rows[-1]) - 1
    lengths = torch.tensor([len(row) for row in rows])
    padded = torch.ones(len(rows), 12)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.from_numpy(row)
    trees = trees_of(padded, lengths, reading)
    for place, row in enumerate(rows):
        spans = spans_of(row, reading)
        assert trees[place].tolist() == [[*span] for span in spans] + [[0, 0]] * (11 - len(spans))


def test_deep_trees() -> None:
    """No recursion: thousands of words, to either side."""
    n = 3000
    assert spans_of(np.arange(n) / n, "original")[-1] == (0, 2)
    assert spans_of(np.zeros(n), "original")[-1] == (n - 2, n)
    assert spans_of(np.arange(n) / n, "unbiased")[-1] == (0, 2)


def test_scores_of_spans() -> None:
    """By the definition; positive exactly for the constituents of the unbiased reading, without ties."""
    generator = np.random.default_rng(1)
    lengths = torch.tensor([1, 2, 5, 8])
    distances = torch.from_numpy(generator.random((4, 8)))
    scores = scores_of(distances, lengths)
    for row, n in enumerate(lengths.tolist()):
        outer = [1.0, *distances[row, 1:n].tolist(), 1.0]
        for i in range(9):
            for j in range(9):
                inside = j - i >= 2 and j <= n
                expected = min(outer[i], outer[j]) - max(outer[i + 1 : j]) if inside else 0
                assert scores[row, i, j] == pytest.approx(expected)
        positive = {(int(i), int(j)) for i, j in torch.nonzero(scores[row] > 0)}
        assert positive == set(spans_of(distances[row, :n].numpy(), "unbiased"))


# ---------------------------------------------------------------------- the parser


def test_learns_to_predict(tmp_path: Path) -> None:
    """The held-out perplexity falls, below that of the words' frequencies, 7.1."""
    options = replace(OPTIONS, embedding=12, hidden=16, chunk=2, **NO_DROPOUT)
    parser = fit(
        tmp_path / "run", sentences(100), options=options, training=replace(TRAINING, epochs=8, learning_rate=0.03)
    )
    assert parser.result is not None
    seen = [line["scores"]["perplexity"] for line in parser.result.history]
    assert seen[-1] < 5 < 7.1 < seen[0]
    assert parser.result.best_score == pytest.approx(-math.log(min(seen)))


def test_save_and_load(tmp_path: Path) -> None:
    parser = fit(tmp_path / "run")
    parser.save(tmp_path / "parser")
    again = ONLSTM.load(tmp_path / "parser")
    assert again.options == parser.options
    new = sentences(20, seed=5)
    assert np.array_equal(again.parse(new).starts, parser.parse(new).starts)
    for own, other in zip(again.span_scores(new), parser.span_scores(new), strict=True):
        assert np.array_equal(own, other)


def test_parses_anything(tmp_path: Path) -> None:
    """Empty, short, long and unknown sentences; order and batches do not matter; scores have the sentence's size."""
    parser = fit(tmp_path / "run")
    words = [[], ["the"], ["ж", "😀"], ["the", "dog"] * 150, ["the", "cat", "sees"], ["w", "1,000", "y", "z"]]
    found = parser.parse(words)
    assert found.lengths.tolist() == [0, 1, 2, 300, 3, 4]
    assert found.is_binary
    assert found[5].tokens == words[5]
    assert parser.reader.batch([words[5]])[0].tolist() == [[UNKNOWN] * 4]
    assert np.array_equal(parser.parse(words, batch_tokens=1).starts, found.starts)
    assert parser.parse(words[::-1])[2].constituents == found[3].constituents
    scores = parser.span_scores(words)
    assert [len(own) for own in scores] == [1, 2, 3, 301, 4, 5]
    assert all(np.isfinite(own).all() for own in scores)
    unbiased = ONLSTM(parser.model, parser.reader, replace(parser.options, reading="unbiased"))
    spans = {(int(i), int(j)) for i, j in np.argwhere(scores[4] > 0)}
    assert set(unbiased.parse(words)[4].spans) == spans


class Stop(Exception):
    """A run that is killed."""


class Stopper(Progress):
    """Stops a training after some steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def start(self, total: int, done: int) -> None: ...
    def epoch(self, report: Any) -> None: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...

    def step(self, report: StepReport) -> None:
        self.after -= 1
        if not self.after:
            raise Stop


@pytest.mark.parametrize("row", [1, 12])
def test_resumed_runs_end_alike(row: int, tmp_path: Path) -> None:
    """Bit by bit, dropouts and all."""
    training = replace(TRAINING, checkpoint_steps=1)
    options = replace(OPTIONS, row=row)
    whole = fit(tmp_path / "whole", training=training, options=options)
    for after in (2, 4):
        folder = tmp_path / f"stopped-{after}"
        with pytest.raises(Stop):
            fit(folder, training=training, options=options, progress=Stopper(after))
        resumed = fit(folder, training=training, options=options, resume=True)
        for name, part in whole.model.state_dict().items():
            assert torch.equal(part, resumed.model.state_dict()[name]), name


def task_of(**options: Any) -> ONLSTMTask:
    reader = ONLSTM._reader(WORDS, OPTIONS)
    model = network(words=len(reader.vocabulary), **NO_DROPOUT, **options)
    return ONLSTMTask(model, reader, Text.of(WORDS, OPTIONS, 0, shortest=1), model.options)


def slow_total(task: ONLSTMTask, rows: list[list[int]]) -> float:
    model = task.model
    assert isinstance(model, ONLSTMNetwork)
    return math.fsum(slow_loss(model, row)[0] for row in rows)


def test_epochs() -> None:
    """All sentences once, in a new order each time; about as many words a batch as was asked for."""
    task = task_of(batch_tokens=50, row=12)
    first, again, second = (task.epoch(number) for number in (1, 1, 2))
    assert np.array_equal(np.concatenate(first), np.concatenate(again))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    for batches in (first, second):
        assert np.array_equal(np.sort(np.concatenate(batches)), task.text.chosen)
        sizes = [int(task.items(batch)) for batch in batches]
        assert all(40 < size < 60 for size in sizes[:-1])
    assert task.items(first[0]) == sum(len(WORDS[index]) + 1 for index in first[0])
    assert max(len(batch) for batch in task_of(batch_tokens=1, row=12).epoch(1)) == 1


def test_rows() -> None:
    """In training, a row of sentences is one text with ends between; in evaluation, sentences stand alone."""
    assert rows_of([[4], [5, 6], [7]], 1) == [[4], [5, 6], [7]]
    assert rows_of([[4], [5, 6], [7, 8], [9]], 4) == [[4, END, 5, 6], [7, 8, END, 9]]
    assert rows_of([], 4) == []
    batch = np.arange(6)
    rows, alone = task_of(row=12, activation=0.0, temporal=0.0), task_of(row=1, activation=0.0, temporal=0.0)
    numbers = [rows.reader.numbered(WORDS[index]) for index in batch]
    expected = slow_total(rows, rows_of(numbers, 12))
    assert rows.loss(batch).item() == pytest.approx(expected, rel=1e-4)
    expected = slow_total(rows, numbers)
    assert alone.loss(batch).item() == pytest.approx(expected, rel=1e-4)
    assert rows.loss(batch).item() != pytest.approx(expected, rel=1e-4)
    rows.model.eval()
    assert rows.loss(batch).item() == pytest.approx(expected, rel=1e-4)


def test_batches_do_not_change_the_gradient() -> None:
    """Where each sentence starts anew, the gradient of a step is the same however it is cut."""
    task = task_of(row=1)
    chosen = task.text.chosen[:9]

    def gradient(parts: list[NDArray[np.int64]]) -> Tensor:
        task.model.zero_grad()
        for part in parts:
            task.loss(part).backward()  # type: ignore[no-untyped-call]
        grad = task.model.get_parameter("embedding.weight").grad
        assert grad is not None
        return grad / sum(task.items(part) for part in parts)

    assert torch.allclose(gradient([chosen]), gradient([chosen[:1], chosen[1:5], chosen[5:]]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("words", [[["one"]] * 3, [["a", "b"]] * 3, [[f"only{index}"] * 2 for index in range(3)]])
def test_little_text(words: list[list[str]], tmp_path: Path) -> None:
    """Sentences of a word or two; words that are too rare to be known."""
    parser = fit(tmp_path / "run", words)
    assert parser.parse([["a", "b", "c"]]).is_binary


def test_gold_chooses_the_epoch(tmp_path: Path) -> None:
    new = sentences(20, seed=5)
    parser = fit(tmp_path / "run", gold=right_trees(new))
    assert parser.result is not None
    assert "perplexity" not in parser.result.history[0]["scores"]
    assert 0 <= parser.result.best_score <= 100


def test_diverging_loss(tmp_path: Path) -> None:
    training = TrainingConfig(epochs=3, learning_rate=1e30, clip=0)
    with says(NonFiniteError, "epoch", "expected a finite", "got", "on sentences", "learning_rate"):
        fit(tmp_path / "run", training=training)


def test_half_precision(tmp_path: Path) -> None:
    """The recurrence stays in single precision."""
    parser = fit(tmp_path / "run", training=replace(TRAINING, precision="bfloat16"))
    assert parser.parse(WORDS).is_binary


def test_options() -> None:
    with says(ArgumentError, "chunk: expected a divisor of embedding 100 and hidden 201", "got 10. "):
        ONLSTMOptions(hidden=201)
    with says(ArgumentError, "chunk: expected a divisor of embedding 20 and hidden 200, at most half of each, got 20."):
        ONLSTMOptions(embedding=20, chunk=20)
    with says(ArgumentError, "reading_layer: expected one of the 2 layers, got 3."):
        ONLSTMOptions(layers=2, reading_layer=3)
    with says(ArgumentError, "reading: expected one of 'original', 'unbiased', got 'biased'"):
        ONLSTMOptions(reading="biased")
    with says(ArgumentError, "weight_dropout: expected a finite number, at least 0 and below 1, got 1"):
        ONLSTMOptions(weight_dropout=1)
    assert ONLSTMOptions(layers=1, reading_layer=1).sizes == [100]
    small, paper = (ONLSTMOptions.presets()[name][0] for name in ("small", "paper"))
    assert small == ONLSTMOptions(reading_layer=3)
    assert paper.sizes == [1150, 1150, 400]
