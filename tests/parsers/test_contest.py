"""ConTest: corruptions, constituency tests, scores and trees, refinement, the teacher as a whole."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import says
from tiny import bert, right_trees, sentences
from torch import Tensor, nn

from parsers.contest import classifier
from parsers.contest.classifier import Classifier, ConTestReader, probabilities
from parsers.contest.constituency_tests import TESTS, changed, end, front, names_of, normal
from parsers.contest.contest import ConTest
from parsers.contest.corruptions import Bigrams, corrupt, misplaced, shuffle, subset, swap
from parsers.contest.options import ConTestOptions
from parsers.contest.task import ConTestTask, Lesson, agreement
from parsers.contest.trials import Trial, longest_strings
from parsers.nn.charts import best_trees
from parsers.text_task import Text
from parsers.training import NonFiniteError, TrainingConfig
from treeavg.errors import ArgumentError, FileError, LimitError

CAT = "the cat sat on the mat".split()
WORDS = sentences(24, longest=7)
QUICK = TrainingConfig(epochs=3, learning_rate=1e-2, encoder_learning_rate=1e-3, schedule="constant")


def small(folder: Path, *, limit: int = 160, **options: Any) -> ConTestOptions:
    chosen = {
        "layers": 1,
        "batch_tokens": 60,
        "refined": 6,
        "refined_batch": 2,
        "held_out": 0.2,
        "tests": "all",
        **options,
    }
    return ConTestOptions(encoder=bert(folder / "bert", layers=2, limit=limit), **{"precision": "float32", **chosen})


# ---------------------------------------------------------------------------- constituency tests


def joined(words: list[str], i: int, j: int, **options: Any) -> list[str]:
    return [" ".join(string) for string in changed(words, i, j, **options)]


def test_strings_of_a_span() -> None:
    """A span that ends the sentence is not moved to the end, one that begins it not to the front."""
    assert joined(CAT, 3, 6) == [
        "it is on the mat that the cat sat",
        "it was on the mat that the cat sat",
        "the cat sat ones",
        "the cat sat did so",
        "the cat sat it",
        "on the mat , the cat sat",
        "the cat sat on the mat and on the mat",
    ]
    assert joined(CAT, 0, 2) == [
        "it is the cat that sat on the mat",
        "it was the cat that sat on the mat",
        "ones sat on the mat",
        "did so sat on the mat",
        "it sat on the mat",
        "sat on the mat the cat",
        "the cat and the cat sat on the mat",
    ]
    assert len(changed(CAT, 2, 5)) == 8
    assert joined(CAT, 2, 4, tests=("front", "end")) == ["sat on , the cat the mat", "the cat the mat sat on"]


def test_number_of_strings() -> None:
    """Two spans of a width stand at a boundary, and lose a test [spec 6.8]."""
    for n, count in ((10, 336), (20, 1476), (40, 6156)):
        assert len(Trial.of([f"w{place}" for place in range(n)]).strings) == count


def test_punctuation() -> None:
    """Marks do not begin a moved sentence or stand at its seam; the published program moves other words."""
    words = normal("-- he said , in Rome , nothing".split())
    assert joined(words, 3, 6, tests=("front",)) == ["in rome , -- he said , nothing"]
    assert joined(words, 0, 3, tests=("end",)) == [", in rome , nothing he said".removeprefix(", ")]
    assert joined(words, 3, 7, tests=("end",)) == ["he said nothing , in rome"]
    assert joined(words, 3, 6, tests=("end",), faithful=True) == ["he said , nothing in rome ,"]
    assert front(["we", ",", "--"], 1, 3) is None
    assert end([",", "--", "we", "go"], 0, 2) is None
    assert end(["we", "go"], 0, 2) is None
    assert front(["we", "go", "."], 1, 3) == ["go", ",", "we"]


def test_spans_without_test() -> None:
    """One word with punctuation is a constituent as it is; so is the whole; a full stop ends the sentence only."""
    trial = Trial.of(["-LRB-", "He", "-RRB-", "left", "."])
    assert trial.inner == 4
    assert trial.spans.tolist() == [[1, 4]]
    chart = trial.chart(np.full(len(trial.strings), 0.25, np.float32))
    assert chart[1, 4] == 0.25
    assert chart[0, 2] == chart[0, 3] == chart[1, 3] == chart[2, 4] == chart[0, 4] == chart[0, 5] == 1
    assert chart[1, 5] == chart[2, 5] == chart[3, 5] == 0
    assert Trial.of(["yes", "!", "."]).chart(np.empty(0, np.float32))[0].tolist() == [0, 1, 1, 1]
    assert Trial.of([]).chart(np.empty(0, np.float32)).shape == (1, 1)
    assert Trial.of([".", "."]).inner == 1


def test_means_of_strings() -> None:
    """The score is the mean of a span's strings, 0.5 where the chosen tests do not apply."""
    trial = Trial.of(["a", "b", "c"], ("front", "and"))
    assert trial.spans.tolist() == [[0, 2], [1, 3]]
    assert trial.owners.tolist() == [0, 1, 1]
    chart = trial.chart(np.array([0.5, 0.25, 0.75], np.float32))
    assert (chart[0, 2], chart[1, 3]) == (0.5, 0.5)
    assert Trial.of(["a", "b", "c"], ("front",)).chart(np.array([0.75], np.float32))[0, 2] == 0.5


def test_full_stop_is_outside() -> None:
    """The best tree keeps the full stop apart whatever the tests say."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        trial = Trial.of([*CAT, "?", "."])
        chart = trial.chart(generator.random(len(trial.strings)).astype(np.float32))
        spans = {tuple(span) for span in best_trees(torch.from_numpy(chart)[None], torch.tensor([8]))[0].tolist()}
        assert {(0, 8), (0, 7), (0, 6)} <= spans


def test_no_string_is_longer() -> None:
    """What is read before parsing has the longest string of each choice of tests."""
    for words in (CAT, ["it", "rains"], ["rain"], [], ["--", "so", "it", "goes", ",", "."]):
        for tests in (*TESTS, "all", "movement", "substitution"):
            names = names_of(tests)
            longest = max((len(string) for string in Trial.of(words, names).strings), default=0)
            assert max(len(string) for string in longest_strings(words, names)) >= longest


def test_text_without_commas(tmp_path: Path) -> None:
    """There, a comma would tell what was moved to the front from sentences."""
    assert front(["we", "met", "in", "rome"], 2, 4, comma=False) == ["in", "rome", "we", "met"]
    assert joined(CAT, 3, 6, tests=("front",), comma=False) == ["on the mat the cat sat"]
    generator, options = np.random.default_rng(0), small(tmp_path)
    for words, comma in ((CAT, False), ([*CAT, ",", "too"], True)):
        reader = ConTest._reader([words], options)
        assert reader.comma == comma
        assert any("," in string for string in reader.trial(CAT).strings) == comma
        made = [reader.corrupt(CAT, Bigrams([CAT]), generator) or [] for _ in range(60)]
        assert any("," in string for string in made) == comma


def test_names_of_tests() -> None:
    assert names_of("all") == TESTS
    assert names_of("coordination, movement,it,end") == ("it", "front", "end", "and")
    with says(ArgumentError, "tests: expected one of 'all', 'clefting'", "got 'moving'"):
        ConTestOptions(tests="it,moving")
    with says(ArgumentError, "tests: expected", "got 3"):
        ConTestOptions(tests=3)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------- trees


def every_tree(i: int, j: int) -> Iterator[frozenset[tuple[int, int]]]:
    if j - i == 1:
        yield frozenset()
    for k in range(i + 1, j):
        for left, right in itertools.product(every_tree(i, k), every_tree(k, j)):
            yield left | right | {(i, j)}


def test_trees_by_hand_and_by_enumeration() -> None:
    """[spec 6.9, 2]: single words count 1 each as well."""
    chart = np.triu(np.ones((5, 5), np.float32), 1)
    for (i, j), value in {(0, 2): 0.9, (1, 3): 0.8, (2, 4): 0.3, (0, 3): 0.2, (1, 4): 0.6}.items():
        chart[i, j] = value
    totals = {tree: 4 + sum(float(chart[span]) for span in tree) for tree in every_tree(0, 4)}
    assert sorted(round(total, 4) for total in totals.values()) == [5.9, 6.0, 6.1, 6.2, 6.4]
    found = best_trees(torch.from_numpy(chart)[None], torch.tensor([4]))[0].tolist()
    assert found == [[0, 4], [1, 4], [1, 3]]
    assert {tuple(span) for span in found} == max(totals, key=totals.__getitem__)
    constant = best_trees(torch.ones(1, 5, 5), torch.tensor([4]))[0].tolist()
    assert constant == [[0, 4], [1, 4], [2, 4]]


# ---------------------------------------------------------------------------- corruptions


def test_corruptions_keep_what_they_should() -> None:
    generator = np.random.default_rng(0)
    for n in range(2, 14):
        words = [f"w{place}" for place in range(n)]
        for _ in range(60):
            kept = subset(words, generator)
            assert (kept is None) == (n <= 5)
            if kept is not None:
                assert kept == [word for word in words if word in kept]  # in order
                assert 5 <= len(kept) < n
            assert Counter(shuffle(words, generator)) == Counter(words)
            assert shuffle(words, generator) != words
            swapped = swap(words, generator)
            assert Counter(swapped) == Counter(words)
            assert sum(one != other for one, other in zip(words, swapped, strict=True)) == 2
            for kind in ("front", "end", "omission"):
                moved = misplaced(words, kind, generator)
                if moved is None:
                    assert n < 3 or kind == "omission" or kind == "front"
                elif kind == "omission":
                    assert 5 <= len(moved) < n
                    assert moved == [word for word in words if word in moved]
                else:
                    assert Counter(word for word in moved if word != ",") == Counter(words)


def test_shuffle_goes_around_a_ring() -> None:
    """With all places chosen, one ring holds every word; with two, words change places."""
    generator = np.random.default_rng(1)
    sizes = Counter(
        sum(one != other for one, other in zip("abcdef", shuffle([*"abcdef"], generator), strict=True))
        for _ in range(500)
    )
    assert set(sizes) == {2, 3, 4, 5, 6}
    assert min(sizes.values()) > 60  # all sizes are as likely


def test_a_corruption_is_another_sentence() -> None:
    generator = np.random.default_rng(0)
    words = ["ha", "ha", "ho"]
    bigrams = Bigrams([words])
    assert all(corrupt(words, bigrams, generator) != words for _ in range(100))
    assert any(corrupt(words, bigrams, generator, faithful=True) == words for _ in range(100))
    same = ["ha", "ha"]
    assert corrupt(same, Bigrams([same]), generator) is None
    assert corrupt(["ha"], bigrams, generator) is None
    kinds = Counter(len(corrupt(CAT, Bigrams([CAT]), generator) or []) for _ in range(200))
    assert set(kinds) == {5, 6, 7}  # five: a subset or an omission; seven: a comma after what was moved to the front


def test_bigrams() -> None:
    """Words are drawn by their counts; after a dead end a sentence begins anew."""
    bigrams = Bigrams([["a", "b"], ["a", "c"], ["a", "b"], ["x"]])
    generator = np.random.default_rng(0)
    drawn = [tuple(bigrams.draw(2, generator)) for _ in range(4000)]
    counts = Counter(drawn)
    expected = {("a", "b"): 0.5, ("a", "c"): 0.25, ("x", "a"): 0.25 * 0.75, ("x", "x"): 0.25 * 0.25}
    assert set(counts) == set(expected)
    for pair, share in expected.items():
        assert counts[pair] / 4000 == pytest.approx(share, abs=0.03)
    assert Bigrams([["x"]]).draw(4, generator) == ["x"] * 4
    assert bigrams.draw(0, generator) == []


# ---------------------------------------------------------------------------- probabilities


def parts_of(options: ConTestOptions) -> tuple[Classifier, ConTestReader]:
    torch.manual_seed(0)
    reader = ConTest._reader([], options)
    return ConTest._build(options, reader).eval(), reader


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_probabilities_as_one_string_at_a_time(pooling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = small(tmp_path, pooling=pooling)
    model, reader = parts_of(options)
    nn.init.normal_(model.output.weight, std=3)
    monkeypatch.setattr(classifier, "_MOST_STRINGS", 200)
    trials = [Trial.of(words) for words in [*WORDS[:4], ["it"], CAT]]
    found = probabilities(model, reader, trials, "float32")
    for trial, own in zip(trials, found, strict=True):
        assert own.shape == (len(trial.strings),)
        for string, value in zip(trial.strings, own.tolist(), strict=True):
            ids = [token for word in string for token in reader.tokenizer(word, add_special_tokens=False)["input_ids"]]
            whole = torch.tensor([[reader.tokenizer.cls_token_id, *ids, reader.tokenizer.sep_token_id]])
            with torch.no_grad():
                hidden = model.backbone(input_ids=whole).last_hidden_state[0]
                logit = model.output(hidden.mean(0) if pooling == "mean" else hidden[0])
            assert value == pytest.approx(float(torch.sigmoid(logit)), abs=1e-5)


# ---------------------------------------------------------------------------- refinement


def slow_agreement(trial: Trial, known: np.ndarray, drawn: list[int], learnt: list[float]) -> float:
    """Span by span."""
    n = trial.length
    now = dict(enumerate(known.tolist())) | dict(zip(drawn, learnt, strict=True))
    scores = {tuple(span): [] for span in trial.spans.tolist()}  # type: ignore[var-annotated]
    before = {tuple(span): [] for span in trial.spans.tolist()}  # type: ignore[var-annotated]
    for place, owner in enumerate(trial.owners.tolist()):
        scores[tuple(trial.spans[owner])].append(now[place])
        before[tuple(trial.spans[owner])].append(float(known[place]))
    means = {span: sum(values) / len(values) for span, values in before.items()}
    best = max(every_tree(0, n), key=lambda tree: sum(means.get(span, 1.0) for span in tree))
    seen = {tuple(trial.spans[trial.owners[place]]) for place in drawn}
    losses = []
    for span in seen:
        mean = sum(scores[span]) / len(scores[span])
        losses.append(-math.log(mean if span in best else 1 - mean))
    return sum(losses) / len(losses)


def test_agreement_span_by_span() -> None:
    generator = np.random.default_rng(0)
    for n in (3, 4, 5, 6):
        trial = Trial.of([f"w{place}" for place in range(n)])
        known = generator.random(len(trial.strings)).astype(np.float32)
        drawn = np.sort(generator.permutation(len(known))[: min(16, len(known))])
        learnt = torch.tensor(generator.random(len(drawn)), dtype=torch.float32, requires_grad=True)
        loss = agreement(trial, known, drawn, learnt)
        expected = slow_agreement(trial, known, drawn.tolist(), learnt.tolist())
        assert loss.item() == pytest.approx(expected, rel=1e-4)
        loss.backward()  # type: ignore[no-untyped-call]
        assert learnt.grad is not None
        assert bool((learnt.grad != 0).all())  # every string drawn is learnt from
        assert len(set(trial.owners[drawn].tolist())) <= len(drawn)


def test_nothing_to_learn_where_all_agree() -> None:
    """Parameters stay where every score equals its target; no test, no loss."""
    trial = Trial.of(["a", "b", "c", "d"])
    tree = {(1, 4), (2, 4)}
    known = np.array([tuple(trial.spans[own]) in tree for own in trial.owners], np.float32)
    weight = torch.ones((), requires_grad=True)
    drawn = np.arange(len(known))
    loss = agreement(trial, known, drawn, torch.sigmoid(weight * torch.from_numpy(known * 400 - 200)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert weight.grad is not None
    assert float(weight.grad) == 0
    none = agreement(Trial.of(["a"]), np.empty(0, np.float32), np.empty(0, np.int64), torch.empty(0))
    assert float(none) == 0


def task_of(options: ConTestOptions, words: list[list[str]], epochs: int = 3) -> ConTestTask:
    model, reader = parts_of(options)
    text = Text.of(words, options, 0, shortest=3)
    task = ConTest._task(model, reader, text, options, replace(QUICK, epochs=epochs))
    assert isinstance(task, ConTestTask)
    return task


def test_epochs_of_both_stages(tmp_path: Path) -> None:
    """Corruptions are new in every epoch, and the same when asked again; refinement takes short sentences."""
    task = task_of(small(tmp_path, refined_longest=5), WORDS)
    first, second, last = (task.epoch(number) for number in (1, 2, 3))
    assert sorted(index for lesson in first for index in lesson.sentences) == task.text.chosen.tolist()
    assert {lesson.seed for lesson in first}.isdisjoint(lesson.seed for lesson in second)
    again = task.epoch(1)
    assert [(one.seed, *one.sentences) for one in first] == [(one.seed, *one.sentences) for one in again]
    assert [lesson.refining for lesson in (*first, *second, *last)] == [False] * len((*first, *second)) + [True] * 3
    assert all(len(WORDS[index]) <= 5 for lesson in last for index in lesson.sentences)
    assert task.items(last[0]) == 2
    assert task.names(last[0]).startswith("sentences ")


def test_only_drawn_strings_are_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(small(tmp_path, learnt_strings=3), WORDS)
    seen: list[int] = []
    inner = task._logits
    monkeypatch.setattr(task, "_logits", lambda strings, names: (seen.append(len(strings)), inner(strings, names))[1])
    loss = task.loss(Lesson(task.text.chosen[:4], 5, True))
    loss.backward()  # type: ignore[no-untyped-call]
    assert seen == [12]
    assert task.classifier.output.weight.grad is not None
    two = Lesson(np.array([0]), 5, True)
    short = task_of(small(tmp_path), [["it", ",", "rains"], ["(", "it", ")"]])
    assert short.loss(replace(two, sentences=np.array([1]))).item() == 0


# ---------------------------------------------------------------------------- the teacher


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def test_fit_save_load_parse(tmp_path: Path) -> None:
    """A round trip needs the saved folder only; sentences of any length have trees."""
    options = small(tmp_path)
    parser = ConTest.fit(WORDS, folder=tmp_path / "run", options=options, training=QUICK, device="cpu")
    assert parser.result is not None
    assert (parser.result.best_epoch, parser.result.best_score) == (3, 1.0)  # the last epoch refined
    assert [line["scores"]["score"] < 0 for line in parser.result.history] == [True, True, False]
    given = [*WORDS[:6], [], ["it"], ["it", "rains"], ["The", "dog", "barks", "!"]]
    parser.save(tmp_path / "saved")
    for path in sorted((tmp_path / "bert").iterdir()):
        path.unlink()
    loaded = ConTest.load(tmp_path / "saved")
    assert loaded.model.backbone.config.num_hidden_layers == 1  # later layers are not even saved
    bank = loaded.parse(given, device="cpu")
    assert list(bank.lengths) == [len(words) for words in given]
    assert bank[9].spans[:2] == [(0, 4), (0, 3)]
    for other in (parser.parse(given, device="cpu"), loaded.parse(given, device="cpu", batch_tokens=1)):
        assert [tree.spans for tree in other] == [tree.spans for tree in bank]
    scores = loaded.span_scores(given, device="cpu")
    assert [len(own) for own in scores] == [len(words) + 1 for words in given]
    assert scores[8].tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert 0 < scores[0][0, 2] < 1


def test_resume(tmp_path: Path) -> None:
    """A run that is interrupted in either stage ends as one that is not."""

    class Stop(Exception):
        pass

    options, training = small(tmp_path, dropout=0.2), replace(QUICK, checkpoint_steps=1)
    whole = ConTest.fit(WORDS, folder=tmp_path / "whole", options=options, training=training, device="cpu")
    assert whole.result is not None
    for calls in (2, whole.result.steps):
        left = [calls]
        inner = ConTestTask.loss

        def failing(self: ConTestTask, batch: Lesson, left: list[int] = left, inner: Any = inner) -> Tensor:
            left[0] -= 1
            if not left[0]:
                raise Stop
            result: Tensor = inner(self, batch)
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ConTestTask, "loss", failing)
            with pytest.raises(Stop):
                ConTest.fit(WORDS, folder=tmp_path / f"{calls}", options=options, training=training, device="cpu")
        again = ConTest.fit(
            WORDS, folder=tmp_path / f"{calls}", options=options, training=training, device="cpu", resume=True
        )
        assert same(again.model.state_dict(), whole.model.state_dict())


def test_it_learns(tmp_path: Path) -> None:
    """Sentences are told from corruptions, and gold trees may choose the epoch."""
    options = small(tmp_path, layers=2, refinement=0, held_out=0.3)
    training = replace(QUICK, epochs=8, encoder_learning_rate=1e-2)
    words = sentences(120)
    parser = ConTest.fit(words, folder=tmp_path / "run", options=options, training=training, device="cpu")
    assert parser.result is not None
    assert max(line["scores"]["accuracy"] for line in parser.result.history) > 0.65
    judged = ConTest.fit(
        WORDS, folder=tmp_path / "judged", options=small(tmp_path), training=QUICK, device="cpu",
        gold=right_trees(WORDS[:5]),
    )  # fmt: skip
    assert judged.result is not None
    assert judged.result.best_score == max(line["scores"]["score"] for line in judged.result.history)


def test_smaller_than_a_batch(tmp_path: Path) -> None:
    options = small(tmp_path, held_out=0)
    parser = ConTest.fit([["the", "dog", "barks"]], folder=tmp_path / "run", options=options, training=QUICK)
    assert parser.parse([["the", "dog", "barks"]])[0].spans[0] == (0, 3)


def test_too_long_sentences(tmp_path: Path) -> None:
    """Before anything is parsed: a coordination doubles the sentence."""
    options = small(tmp_path, limit=40)
    model, reader = parts_of(options)
    parser = ConTest(model, reader, options)
    assert parser.parse([["the"] * 18], device="cpu").lengths.tolist() == [18]
    for method in (parser.parse, parser.span_scores):
        with says(LimitError, "sentences[1]: expected at most 40 subwords, the encoder's limit", "split it"):
            method([["the"] * 3, ["the"] * 20], device="cpu")
    shorter = replace(options, tests="it")
    assert ConTest(model, ConTest._reader([], shorter), shorter).parse([["the"] * 38], device="cpu")
    with says(LimitError, "sentences[0]: expected at most 40"):
        ConTest.fit([["zebra"] * 12], folder=tmp_path / "run", options=replace(options, held_out=0), training=QUICK)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    options = small(tmp_path)
    with says(ArgumentError, "encoder: expected the folder of a Hugging Face encoder, got none. Name one"):
        ConTest.fit(WORDS, folder=tmp_path / "run", options=ConTestOptions())
    with says(FileError, "nowhere", "got none. Models are read from disk only"):
        ConTest.fit(WORDS, folder=tmp_path / "run", options=ConTestOptions(encoder="nowhere"))
    with says(ArgumentError, "layers: expected 0 to 2, the encoder's own, got 3"):
        ConTest.fit(WORDS, folder=tmp_path / "run", options=replace(options, layers=3))
    with says(ArgumentError, "refinement: expected fewer epochs than the training's 3, got 3"):
        ConTest.fit(WORDS, folder=tmp_path / "run", options=replace(options, refinement=3), training=QUICK)
    with says(ArgumentError, "patience: expected 0 where refinement follows, got 2"):
        ConTest.fit(WORDS, folder=tmp_path / "run", options=options, training=replace(QUICK, patience=2))
    with says(ArgumentError, "refined_longest: expected some sentences of at most 3 words, got none"):
        task_of(replace(options, refined_longest=3), [["the", "dog", "sees", "it"]] * 9).epoch(3)
    with says(ArgumentError, "pooling: expected one of 'mean', 'first', got 'max'"):
        ConTestOptions(pooling="max")
    with says(ArgumentError, "learnt_strings: expected a whole number, at least 1, got 0. Leave it out for 16"):
        ConTestOptions(learnt_strings=0)


def test_divergence(tmp_path: Path) -> None:
    """A loss that is no number stops the run, in training and on held-out sentences."""
    options = small(tmp_path)
    with says(NonFiniteError, "epoch 1, step", "expected a finite", "lower learning_rate"):
        ConTest.fit(
            WORDS, folder=tmp_path / "run", options=options, device="cpu",
            training=replace(QUICK, learning_rate=1e38, encoder_learning_rate=1e38, clip=0.0),
        )  # fmt: skip
    task = task_of(options, WORDS)
    nn.init.constant_(task.classifier.output.bias, math.nan)
    with says(NonFiniteError, "held-out sentences: expected a finite loss, got nan"), torch.no_grad():
        task.evaluate()


def test_presets() -> None:
    presets = ConTestOptions.presets()
    assert set(presets) == {"small", "paper"}
    for options, training in presets.values():
        assert options.refinement < training.epochs
    assert presets["paper"][1].accumulate * presets["paper"][0].refined_batch == 32
