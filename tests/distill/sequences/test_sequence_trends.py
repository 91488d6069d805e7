"""The benchmark of docs/sequences.md runs: its language is what it says, and a tiny run fills both tables."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import replace

import pytest
import torch

with warnings.catch_warnings():  # transformers and its imports warn about themselves
    warnings.simplefilter("ignore")
    from benchmarks import sequence_students as students
    from benchmarks import sequence_trends as trends
    from benchmarks.sequence_task import END, ORDERS, Dialect, Language, Meaning, Way, rows_of, way_of

TINY = replace(
    students.QUICK, inputs=12, test=4, width=8, batch=4, samples=1, teacher_layers=2, teacher_steps=2, start_steps=1,
    steps=1, dialect_steps=1, pupil_steps=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_rng_state(state)


def test_answers() -> None:
    """6 right answers, 12 with a word for how, all different; a verb agrees with who does it, a particle with all."""
    language, chance = Language(3), random.Random(3)
    meanings = language.meanings(60, chance, set())
    assert len(set(meanings)) == 60
    for meaning in meanings:
        answers = language.answers(meaning)
        assert len({tuple(answer) for answer in answers}) == len(answers) == (6 if meaning.how is None else 12)
        for answer in answers:
            assert answer[-1] == END
            assert answer[-2] in language.particles
            assert len(answer) <= students.LONGEST
            assert language.endings[language.classes[meaning.who]] in answer
            assert language.endings[1 - language.classes[meaning.who]] not in answer
    assert [way_of(Dialect(1.0, (0, 1, 0), 1.0), chance) for _ in range(3)] == [Way(1, "ovs", "first")] * 3
    rows = rows_of(language, meanings, Dialect(), chance)
    assert all(row["completion"] in language.answers(meaning) for row, meaning in zip(rows, meanings, strict=True))


def test_one_sentence() -> None:
    language = Language(0, shared=0.0)
    meaning = Meaning(0, 1, 2, 1, None, 0)
    language.classes[0], language.classes[2] = 0, 1
    said = [language.text(language.say(meaning, Way(1, order, "last"))) for order in ORDERS]
    assert said[0] == "le n0' a1' v1' -o la n2' h0' hey"
    assert said[1] == "la n2' v1' -o by le n0' a1' h0' hey"
    assert said[2] == "v1' -o le n0' a1' la n2' h0' hey"
    assert language.text(language.say(meaning, Way(0, "svo", "first"))) == "h0 le a1 n0 v1 -o la n2 ho"
    kinds = [language.words[token] for token in language.prompt(meaning)]
    assert kinds == ["<start>", "N0", "A1", "V1", "N2", "H0", "<turn>"]


def test_quality() -> None:
    language = Language(0)
    meanings = language.meanings(4, random.Random(0), set())
    outputs = [language.answers(meaning)[place] for place, meaning in enumerate(meanings)]
    found = students.quality(language, meanings, outputs)
    assert found["right"] == 100
    assert found["bleu"] == pytest.approx(100)
    assert students.quality(language, meanings, [outputs[0], *outputs[:3]])["right"] == 25
    assert students.quality(language, meanings, [output[:-1] for output in outputs])["right"] == 0  # cut


def test_tiny_run(tmp_path, monkeypatch, capsys) -> None:
    """One method of each kind of rows, and two ways to put teachers together."""
    monkeypatch.setattr(trends, "QUICK", TINY)
    for name, kept in (("METHODS", ("SeqKD", "JS", "induced reward")), ("TOGETHER", ("mbr", "ebbs"))):
        monkeypatch.setattr(trends, name, {key: getattr(trends, name)[key] for key in kept})
    path = tmp_path / "trends.json"
    trends.main(["--quick", "--seeds", "7", "--jobs", "1", "--output", str(path)])
    printed = capsys.readouterr()
    document = json.loads(path.read_text(encoding="utf-8"))
    one, three = (document["tables"][half]["7"] for half in ("one teacher", "three teachers"))
    assert list(one) == ["teacher", "MLE", "pre-distilled", "pre-distilled, longer", *trends.METHODS]
    assert set(one["JS"]) == set(trends.COLUMNS)
    assert one["teacher"]["tvd"] == 0
    together = ["minimum Bayes risk", "EBBS"]
    pupils = [f"student of {name}" for name in ("itself", "the union", "the token average", *together)]
    assert list(three) == ["teacher 1", "teacher 2", "teacher 3", *together, *pupils]
    assert "one teacher, mean and standard deviation over seeds 7" in printed.out
    assert "seed 7: JS: right" in printed.err


def test_same_seed() -> None:
    language, chance = Language(1), random.Random(1)
    rows = rows_of(language, language.meanings(8, chance, set()), Dialect(), chance)
    teacher = students.model_of(language, 2, 8, 1)
    found = [
        students.train(
            students.model_of(language, 1, 8, 2),
            rows,
            trends.METHODS["JS"][1],
            steps=2,
            batch=4,
            seed=3,
            teachers=teacher,
        ).state_dict()
        for _ in range(2)
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_table() -> None:
    runs = [
        {"a": {"right": 90.0, "tvd": 0.25}, "b": {"right": 50.0}},
        {"a": {"right": 92.0, "tvd": 0.75}, "b": {"right": 50.0}},
    ]
    assert trends.table_of(runs) == [
        ["", "right %", "TVD"],
        ["a", "91.0 ± 1.4", "0.50 ± 0.35"],
        ["b", "50.0 ± 0.0", ""],
    ]
    assert trends.table_of(runs[:1])[1] == ["a", "90.0", "0.25"]
