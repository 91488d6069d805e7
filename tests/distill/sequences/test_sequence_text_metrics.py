"""Scores of text: against nltk and by hand, the conventions, iBLEU's published row, what is refused."""

from __future__ import annotations

import math
import random
import re
import warnings
from types import SimpleNamespace

import pytest

pytest.importorskip("sacrebleu", reason="sacrebleu is not installed: pip install 'treeavg[transformers]'")

from nltk.translate.bleu_score import corpus_bleu

from treeavg.distill.sequences.metrics import text_metrics
from treeavg.distill.sequences.metrics.rouge import ROUGES, per_output, rouge, rouge_l, rouge_n
from treeavg.distill.sequences.metrics.text_metrics import TextScore, bleu, chrf, ibleu, sentence_bleu, ter, text_score
from treeavg.errors import ArgumentError

WORDS = "the a cat dog sat ran here there , .".split()


def corpus(seed: int, size: int = 30) -> tuple[list[str], list[list[str]], list[str]]:
    """Outputs, references (one to three each) and sources."""
    drawn = random.Random(seed)

    def text() -> str:
        return " ".join(drawn.choices(WORDS, k=drawn.randint(4, 12)))

    return (
        [text() for _ in range(size)],
        [[text() for _ in range(drawn.randint(1, 3))] for _ in range(size)],
        [text() for _ in range(size)],
    )


# ------------------------------------------------------------------ BLEU


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_word_punct_bleu_is_nltk_s(seed: int, order: int) -> None:
    """Cumulative, alike weights, lower case, no smoothing."""
    outputs, references, _ = corpus(seed)
    split = [[one.split() for one in group] for group in references]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk speaks up where an order has no match
        expected = 100 * corpus_bleu(split, [one.split() for one in outputs], weights=[1 / order] * order)
    found = bleu([one.upper() for one in outputs], references, order=order, convention="word-punct")
    assert found.value == pytest.approx(expected, abs=1e-6 if expected > 1e-6 else 1e-4)
    assert f"metric:bleu|order:{order}|words:lower-word-punct|nrefs:var" in found.signature
    assert "tok:none|smooth:none" in found.signature


def test_conventions() -> None:
    """They differ in case and signs; both say so."""
    plain = bleu(["The cat isn't here."], ["the cat isn't here."])
    assert plain.value < 100
    assert "case:mixed|eff:no|tok:13a|smooth:exp" in plain.signature
    assert bleu(["The cat isn't here."], ["the cat isn't here."], convention="word-punct").value == pytest.approx(100)
    assert "tok:char" in bleu(["ab"], ["ab"], tokenize="char").signature
    assert str(TextScore(12.346, "metric:x")) == "12.35 metric:x"


def test_bleu_by_hand() -> None:
    """4 of 5 words and 2 of 4 pairs; as long as the reference."""
    found = bleu(["a b c d e"], ["a b c x e"], order=2, convention="word-punct")
    assert found.value == pytest.approx(100 * math.sqrt(4 / 5 * 2 / 4))
    short = bleu(["a b"], ["a b c d"], order=2, convention="word-punct")
    assert short.value == pytest.approx(100 * math.exp(1 - 4 / 2))


def test_empty_outputs_count() -> None:
    """An empty output costs length and is not left out."""
    both = bleu(["a b c d e", ""], ["a b c d e", "a b c d e"], convention="word-punct")
    assert both.value == pytest.approx(100 * math.exp(1 - 2))
    assert bleu([""], ["a"]).value == 0.0
    assert chrf([""], ["a"]).value == 0.0
    assert ter([""], ["a b"]).value == 100.0
    assert ter(["a b"], [""]).value == 100.0


def test_several_references() -> None:
    """As many as there are; the first list may be the longer one or the shorter."""
    outputs = ["a b c d", "e f g h"]
    assert bleu(outputs, [["x", "a b c d"], ["e f g h"]]).value == pytest.approx(100)
    assert bleu(outputs, [["a b c d"], ["x", "e f g h"]]).value == pytest.approx(100)
    assert chrf(outputs, [["a b c d"], ["x", "e f g h"]]).value == pytest.approx(100)
    assert ter(outputs, [["a b c d"], ["x", "e f g h"]]).value == 0.0


# ------------------------------------------------------------------ others


def test_chrf_and_ter_by_hand() -> None:
    """One character of three, pairs none: the mean over orders that there are; one edit of four words."""
    found = chrf(["abd"], ["abc"])
    orders = [2 / 3, 1 / 2, 0]
    precision = recall = sum(orders) / 3
    assert found.value == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert "nc:6|nw:0" in found.signature
    assert "nw:2" in chrf(["a"], ["a"], word_order=2).signature
    assert ter(["a b c d"], ["a b c e"]).value == 25.0
    assert ter(["c d a b"], ["a b c d"]).value == 25.0  # a block moved is one edit


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
def test_ibleu_of_copies(alpha: float) -> None:
    """(1 - alpha) BLEU - 100 alpha; the published row 16.89 from a BLEU of 29.88."""
    _, references, sources = corpus(3)
    against = bleu(sources, references, convention="word-punct").value
    found = ibleu(sources, references, sources, alpha=alpha)
    assert found.value == pytest.approx((1 - alpha) * against - 100 * alpha, abs=1e-9)
    assert found.signature.startswith(f"metric:ibleu|alpha:{alpha:g}|metric:bleu")


def test_ibleu_published_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying the source scores 16.89 where its BLEU is 29.88."""

    def known(outputs: list[str], references: list[str], **options: object) -> TextScore:
        return TextScore(100.0 if references == ["source"] else 29.88, "metric:bleu")

    monkeypatch.setattr(text_metrics, "bleu", known)
    assert ibleu(["source"], ["reference"], ["source"]).value == pytest.approx(16.892)


def naive_sentence_bleu(output: list[int], reference: list[int]) -> float:
    """Exponential smoothing and orders up to the output's length, written plainly."""
    logs, halved = [], 1.0
    orders = min(4, len(output))
    if not set(output) & set(reference):
        return 0.0
    for order in range(1, orders + 1):
        mine = [tuple(output[i : i + order]) for i in range(len(output) - order + 1)]
        other = [tuple(reference[i : i + order]) for i in range(len(reference) - order + 1)]
        matched = sum(min(mine.count(gram), other.count(gram)) for gram in set(mine))
        if matched == 0:
            halved *= 2
            logs.append(math.log(1 / (halved * len(mine))))
        else:
            logs.append(math.log(matched / len(mine)))
    brevity = min(0.0, 1 - len(reference) / len(output))
    return 100 * math.exp(brevity + sum(logs) / orders)


@pytest.mark.parametrize("seed", range(20))
def test_sentence_bleu(seed: int) -> None:
    """Against its twin; texts and tokens give the same."""
    drawn = random.Random(seed)
    output, reference = (drawn.choices(range(5), k=drawn.randint(1, 9)) for _ in range(2))
    found = sentence_bleu(output, reference)
    assert found == pytest.approx(naive_sentence_bleu(output, reference), abs=1e-9)
    as_text = sentence_bleu(" ".join(f"w{one}" for one in output), " ".join(f"w{one}" for one in reference))
    assert as_text == found


def test_sentence_bleu_at_the_ends() -> None:
    assert sentence_bleu("a b c", "a b c") == 100.0
    assert sentence_bleu([7], [7]) == 100.0
    assert sentence_bleu("", "a") == 0.0
    assert sentence_bleu("a", "") == 0.0
    assert sentence_bleu("", "") == 100.0
    assert sentence_bleu("a", "b") == 0.0
    assert sentence_bleu(["a b", "c"], ["a", "b", "c"]) < 100  # a token with a space is one token
    assert sentence_bleu("a b c", "a b d", smoothing="none") == 0.0
    assert sentence_bleu("a b c", "a b d", smoothing="add-k", order=2) == pytest.approx(100 * math.sqrt(2 / 3 * 2 / 3))
    assert sentence_bleu("a b c", "a b d", smoothing="floor") > 0


def test_text_score() -> None:
    """By name, or a function of one's own."""
    outputs, references, _ = corpus(1)
    assert text_score("ter", outputs, references) == ter(outputs, references)

    def share(outputs: list[str], references: list[list[str]]) -> float:
        return 100.0 * len(outputs) / len(references)

    assert text_score(share, outputs, references) == TextScore(100.0, "metric:share")

    # one that keeps its own conventions
    assert text_score(lambda *texts: bleu(*texts, order=2), outputs, references) == bleu(outputs, references, order=2)


# ------------------------------------------------------------------ ROUGE and metrics of one output


@pytest.mark.parametrize("seed", range(20))
def test_rouge_n(seed: int) -> None:
    """N-grams crossed off a list, one by one."""
    drawn = random.Random(seed)
    first, second = (drawn.choices("abc", k=drawn.randint(0, 7)) for _ in range(2))
    for n in (1, 2, 3):
        mine, left = ([text[i : i + n] for i in range(len(text) - n + 1)] for text in (first, second))
        total, matched = len(mine) + len(left), 0
        for gram in mine:
            if gram in left:
                left.remove(gram)
                matched += 1
        assert rouge_n(first, second, n=n) == pytest.approx(2 * matched / total if matched else 0.0, abs=1e-12)
        assert rouge_n(first, second, n=n) == rouge_n(second, first, n=n)


@pytest.mark.parametrize("kind", list(ROUGES))
def test_rouge(kind: str) -> None:
    """The mean over outputs of the best F1 over references, by hand."""
    outputs, references, _ = corpus(4)

    def f1(output: str, reference: str) -> float:
        one, two = (re.findall("[a-z]+", text) for text in (output, reference))
        return rouge_l(one, two) if kind == "l" else rouge_n(one, two, n=int(kind))

    best = [max(f1(output, one) for one in group) for output, group in zip(outputs, references, strict=True)]
    found = rouge([one.upper() for one in outputs], references, kind=kind)
    assert found.value == pytest.approx(100 * sum(best) / len(best), abs=1e-10)
    assert found.signature == f"metric:rouge-{kind}|level:output|references:best"
    assert text_score(f"rouge-{kind}", outputs, references) == rouge(outputs, references, kind=kind)
    assert rouge(["a b"], ["a b"], kind=kind).value == 100
    assert rouge(["", "a b"], ["a b", "a b"], kind=kind).value == 50
    stemmed = rouge(["cats here"], ["cat here"], kind=kind, tokenize=lambda text: [w.rstrip("s") for w in text.split()])
    assert stemmed.value == 100 > rouge(["cats here"], ["cat here"], kind=kind).value


@pytest.mark.parametrize("seed", range(5))
def test_rouge_is_rouge_score_s(seed: int) -> None:
    """The package of that name, without its stemmer, says the same."""
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    theirs = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    outputs, references, _ = corpus(seed)
    for kind, name in (("1", "rouge1"), ("2", "rouge2"), ("l", "rougeL")):
        scores = [
            theirs.score_multi(group, output)[name].fmeasure for output, group in zip(outputs, references, strict=True)
        ]
        assert rouge(outputs, references, kind=kind).value == pytest.approx(100 * sum(scores) / len(scores), abs=1e-9)


def test_per_output() -> None:
    """A plug-in of one output and one reference: nltk's METEOR, with a dictionary that knows no synonyms."""
    meteor_score = pytest.importorskip("nltk.translate.meteor_score")
    known = SimpleNamespace(synsets=lambda word: [])

    def meteor(output: str, reference: str) -> float:
        return 100 * meteor_score.single_meteor_score(reference.split(), output.split(), wordnet=known)

    outputs, references, _ = corpus(2, 6)
    found = text_score(per_output(meteor), outputs, references)
    best = [max(meteor(output, one) for one in group) for output, group in zip(outputs, references, strict=True)]
    assert found == TextScore(math.fsum(best) / 6, "metric:meteor|level:output|references:best")
    assert 0 < found.value < 100
    assert per_output(meteor, name="METEOR 1.0")(outputs, references).signature.startswith("metric:METEOR 1.0|")
    one = ["a cat sat"]
    assert per_output(lambda output, reference: len(output) - len(reference))(one, [["a cat", "a"]]).value == 8


# ------------------------------------------------------------------ refusals


def test_refusals() -> None:
    cases = [
        (lambda: bleu([], []), r"outputs: expected one text or more, got \[\]\. Give a list of strings\."),
        (lambda: bleu("a b", ["a b"]), r"outputs: expected one text or more, got 'a b'\."),
        (lambda: bleu([1], ["a"]), r"outputs: expected one text or more, got \[1\]\."),
        (lambda: bleu(["a", "b"], ["a"]), r"references: expected 2, one or a list for each output, got 1\."),
        (lambda: bleu(["a"], "a"), r"references: expected 1, .* got 'a'\. Leave none out\."),
        (lambda: bleu(["a", "b"], [["a"], []]), r"references\[1\]: expected a text or a list of texts, got \[\]\."),
        (lambda: bleu(["a"], ["a"], order=0), r"order: expected a whole number from 1, got 0\."),
        (lambda: bleu(["a"], ["a"], convention="13a"), r"convention: expected one of 'sacrebleu', 'word-punct', got"),
        (lambda: bleu(["a"], ["a"], tokenize="13"), r"tokenize: expected one of .* got '13'\. Did you mean '13a'\?"),
        (
            lambda: bleu(["a"], ["a"], convention="word-punct", tokenize="13a"),
            r"tokenize: expected None for the convention 'word-punct', got '13a'\. Leave it out",
        ),
        (lambda: chrf(["a"], ["a"], word_order=-1), r"word_order: expected a whole number from 0, got -1\."),
        (lambda: ibleu(["a"], ["a"], ["a"], alpha=2), r"alpha: expected a number from 0 to 1, got 2\. Use 0\.1\."),
        (lambda: ibleu(["a"], ["a"], []), r"sources: expected 1 texts, one for each output, got \[\]\."),
        (lambda: ibleu(["a"], ["a"], "a"), r"sources: expected 1 texts, one for each output, got 'a'\."),
        (lambda: sentence_bleu("a", "a", smoothing="exp2"), r"smoothing: expected one of .* Did you mean 'exp'\?"),
        (
            lambda: text_score("rouge", ["a"], ["a"]),
            r"metric: expected one of 'bleu', .*, 'rouge-l', got 'rouge'\. Did you mean 'rouge-",
        ),
        (lambda: text_score(5, ["a"], ["a"]), r"metric: expected one of 'bleu', .* got 5\."),
        (lambda: text_score(lambda *texts: math.nan, ["a"], ["a"]), r"metric: expected <lambda> .*, got nan\. Give 0"),
        (lambda: text_score(lambda *texts: 1.0, ["a"], []), r"references: expected 1, one or a list .*, got 0\."),
        (lambda: rouge(["a"], ["a"], kind="L"), r"kind: expected one of '1', '2', 'l', got 'L'\."),
        (lambda: rouge([], []), r"outputs: expected one text or more, got \[\]\."),
        (lambda: rouge_n(["a"], ["a"], n=0), r"n: expected a whole number, at least 1, got 0\. Use 1 or 2\."),
        (
            lambda: per_output(lambda output, reference: None, name="mine")(["a"], ["a"]),
            r"outputs\[0\]: expected mine to return a number, got \[None\]\. Give 0",
        ),
        (
            lambda: per_output(lambda *texts: math.nan)(["a", "b"], ["a", "b"]),
            r"outputs\[0\]: expected <lambda> .* \[nan",
        ),
        (lambda: per_output(lambda *texts: 1.0)(["a"], [[]]), r"references\[0\]: expected a text or a list of texts"),
        (
            lambda: text_score(lambda *texts: None, ["a"], ["a"]),
            r"metric: expected <lambda> to return a number",
        ),
    ]
    for call, message in cases:
        with pytest.raises(ArgumentError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_without_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names the extra, and only where a score is asked for: the module itself holds nothing of it."""
    assert not any(
        str(getattr(value, "__module__", "")).startswith("sacrebleu") for value in vars(text_metrics).values()
    )

    def absent(name: str, package: str | None = None) -> object:
        raise ModuleNotFoundError(f"No module named {name.split('.')[0]!r}")

    monkeypatch.setattr(text_metrics.importlib, "import_module", absent)
    text_metrics._bleu.cache_clear()
    for call in (lambda: bleu(["a"], ["a"]), lambda: chrf(["a"], ["a"]), lambda: sentence_bleu("a", "b")):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert str(caught.value) == (
            "text metrics: expected the package sacrebleu, got: No module named 'sacrebleu'. "
            "Install it: pip install 'treeavg[transformers]'."
        )


def test_tokenizer_that_wants_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of sacrebleu's tokenizers want a package or a download."""
    from sacrebleu import metrics

    class Wanting:
        TOKENIZERS = ("ja-mecab", "13a")

        def __init__(self, **options: object) -> None:
            raise RuntimeError("needs\n mecab")

    monkeypatch.setattr(metrics, "BLEU", Wanting)
    with pytest.raises(ArgumentError, match=r"tokenize: expected a tokenizer .* got 'ja-mecab': needs mecab\. Install"):
        bleu(["a"], ["a"], tokenize="ja-mecab", order=3)
