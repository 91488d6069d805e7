"""Vocabularies: the same one under padded heads, different ones refused, bytes aligned, sorted and hybrid losses."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from treeavg.distill.sequences.losses.divergences import sequence_loss
from treeavg.distill.sequences.vocabularies.uld import KINDS, merged
from treeavg.distill.sequences.vocabularies.vocabulary import (
    Group,
    align_tokens,
    byte_ends,
    common_vocabulary,
    cut,
    matched_tokens,
    token_map,
    tokenizer_hash,
    uld_loss,
)
from treeavg.errors import ArgumentError

TEXTS = [
    "",
    "a",
    "the cat sat",
    "  two  spaces ",
    "naïve café — 北京 🙂🙃",
    "\U0001f469‍\U0001f680 zero\twidth\n",
    "北",
    "🙂" * 5,
]
CORPUS = ["the cat sat on the mat", "naïve café", "two spaces", "a teacher and a student", "北京 北京 🙂"]
SEEDS = range(20)


def byte_level(size: int = 300) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=["<eos>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def metaspace() -> Tokenizer:
    """Like sentencepiece: a mark for spaces, bytes for unknown characters, no space before the first word's text."""
    pieces = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256)), ("▁", -3.0)]
    letters = sorted(set("".join(CORPUS)) - set(" 北京🙂é"))
    pieces += [(letter, -4.0) for letter in letters] + [(word, -5.0) for word in ("▁the", "▁c", "at", "▁s", "pace")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return tokenizer


def words(names: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(names, unk_token=next(iter(names))))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def characters(text: str) -> Tokenizer:
    return words({letter: place for place, letter in enumerate(sorted(set(text)))})


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


# ------------------------------------------------------------------ the same vocabulary


def test_padded_heads() -> None:
    """The same tokens under heads of different width: a padded pair is the pair cut to the tokens (H.9.4)."""
    tokenizer = byte_level()
    real = common_vocabulary(tokenizer, byte_level(), teacher_size=320, student_size=384)
    assert real == tokenizer.get_vocab_size() == 300
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(2, 3, size, generator=generator, dtype=torch.float64) for size in (320, 384))
    mask = torch.ones(2, 3, dtype=torch.bool)
    teacher, student = cut(p, q, real)
    want = sequence_loss("js", p[..., :300], q[..., :300], mask)
    assert sequence_loss("js", teacher, student, mask).item() == want.item()
    padded = torch.cat([p[..., :300], torch.full((2, 3, 84), -math.inf)], -1)
    own = torch.cat([q[..., :300], torch.full((2, 3, 84), -math.inf)], -1)
    assert sequence_loss("js", padded, own, mask).item() == pytest.approx(want.item(), abs=1e-12)
    assert common_vocabulary(tokenizer, tokenizer, teacher_size=300, student_size=300) == 300
    assert teacher.data_ptr() == p.data_ptr()  # a view


def test_maps_with_gaps() -> None:
    """Ids need not be dense: the greatest counts."""
    sparse = words({"a": 0, "b": 7})
    assert common_vocabulary(sparse, sparse, teacher_size=8, student_size=9) == 8


def test_transformers_tokenizers() -> None:
    """Those of transformers, fast and slow-like, are read alike."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=byte_level(), eos_token="<eos>")
    assert token_map(fast) == token_map(byte_level())
    before = tokenizer_hash(fast)
    fast.pad_token = "<eos>"
    assert tokenizer_hash(fast) != before
    named = tokenizer_hash(fast)
    fast(["the cat", "a"], padding=True, truncation=True, max_length=3)
    assert tokenizer_hash(fast) == named
    for text in TEXTS:
        ids = fast(text, add_special_tokens=False)["input_ids"]
        assert byte_ends(fast, [*ids, fast.eos_token_id]) == byte_ends(byte_level(), [*ids, 0])


def test_hash() -> None:
    """It is stable, and differs for another map, other merges, other special tokens."""

    class Slow:
        def __init__(self, end: str) -> None:
            self.special_tokens_map = {"eos_token": end}

        def get_vocab(self) -> dict[str, int]:
            return {"b": 1, "a": 0}

    assert tokenizer_hash(Slow("b")) == tokenizer_hash(Slow("b"))
    assert len({tokenizer_hash(one) for one in (Slow("a"), Slow("b"), byte_level(), byte_level(301), metaspace())}) == 5
    assert tokenizer_hash(byte_level()) == tokenizer_hash(byte_level())
    vocabulary = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4}
    merges = [[("a", "b"), ("b", "c")], [("b", "c"), ("a", "b")]]
    first, second = (Tokenizer(models.BPE(vocabulary, order)) for order in merges)
    assert token_map(first) == token_map(second)
    assert tokenizer_hash(first) != tokenizer_hash(second)


# ------------------------------------------------------------------ refusals


def test_refuses_other_maps() -> None:
    """Different maps, before any training: which token differs, and what can be done."""
    teacher = words({"a": 0, "b": 1, "c": 2})

    def refused(student: Tokenizer, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            common_vocabulary(teacher, student, teacher_size=9, student_size=9)

    refused(
        words({"a": 1, "b": 0, "c": 2}),
        r"student_tokenizer: expected the teacher's 3 tokens with the same ids, got 3, of which 2 have "
        r"another id \('a': 0 and 1\)\. Use uld_loss, or train on the teacher's texts \(SeqKD\); never",
    )
    refused(
        words({"a": 0, "b": 1, "d": 2}), r"which 1 are the teacher's only \('c'\); 1 are the student's only \('d'\)\."
    )
    refused(words({"a": 0, "b": 1, "c": 2, "d": 3}), r"got 4, of which 1 are the student's only \('d'\)")
    refused(byte_level(), r"expected the teacher's 3 tokens .*, got 300, of which")
    for name in ("teacher", "student"):
        sizes = {"teacher_size": 9, "student_size": 9, f"{name}_size": 2}
        with pytest.raises(
            ArgumentError, match=rf"{name}_size: expected at least 3 columns, one for each token, got 2\."
        ):
            common_vocabulary(teacher, teacher, **sizes)
    with pytest.raises(ArgumentError, match=r"tokenizer: expected one with a method get_vocab, got int\. Load it"):
        token_map(3)
    with pytest.raises(ArgumentError, match=r"tokenizer: expected one with tokens, got none\."):
        token_map(Tokenizer(models.BPE()))
    for size in (0, 5):
        with pytest.raises(
            ArgumentError, match=rf"student_logits: expected at least size={size} columns|teacher_logits: exp"
        ):
            cut(torch.zeros(2, 6), torch.zeros(2, 4), size)


def test_matched_tokens() -> None:
    """Tokens written alike, each id once."""
    got = matched_tokens(words({"a": 0, "b": 1, "c": 5}), words({"c": 2, "x": 0, "a": 1}))
    assert got.tolist() == [[0, 1], [5, 2]]
    assert matched_tokens(words({"a": 0}), words({"b": 0})).shape == (0, 2)
    whole = matched_tokens(byte_level(), byte_level())
    assert whole.tolist() == [[i, i] for i in range(300)]

    class Doubled:
        def __init__(self, names: dict[str, int]) -> None:
            self.get_vocab = lambda: names

    assert matched_tokens(Doubled({"a": 0, "b": 0}), Doubled({"a": 3, "b": 4})).tolist() == [[0, 3]]
    assert matched_tokens(Doubled({"a": 0, "b": 1}), Doubled({"a": 3, "b": 3})).tolist() == [[0, 3]]


# ------------------------------------------------------------------ bytes


def slow_ends(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """Twin: where the text of every beginning that ends with a whole character ends; others share the next end."""
    whole = tokenizer.decode(ids).encode()
    found: list[int | None] = []
    for place in range(len(ids)):
        text = tokenizer.decode(ids[: place + 1])
        size = len(text.encode())
        found.append(size if text.encode() == whole[:size] else None)
    ends = []
    for place in range(len(ids)):
        later = [end for end in found[place:] if end is not None]
        ends.append(later[0] if later else len(whole))
    before = [0, *ends]
    return [
        -1 if tokenizer.decode([token]) == "" and end == start else end
        for token, end, start in zip(ids, ends, before, strict=False)
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_byte_ends(text: str) -> None:
    """Windowed decoding finds what decoding all beginnings finds, with an end token and within a character."""
    for tokenizer, end in ((byte_level(), "<eos>"), (metaspace(), "</s>")):
        ids = encode(tokenizer, text)
        for sample in (ids, [*ids, tokenizer.token_to_id(end)]):
            got, ends = byte_ends(tokenizer, sample)
            assert got == tokenizer.decode(sample)
            assert ends == slow_ends(tokenizer, sample)
            assert [one for one in ends if one >= 0] == sorted(one for one in ends if one >= 0)
            assert max(ends, default=-1) == (len(got.encode()) if got else -1)
        if end == "<eos>":
            assert got == text
            for stop in range(len(ids)):  # truncated completions, perhaps within a character
                broken, ends = byte_ends(tokenizer, ids[:stop])
                assert broken == tokenizer.decode(ids[:stop])
                assert max(ends, default=0) == len(broken.encode())


def test_end_token_after_half_a_character() -> None:
    """The end token is left out even where the text before it stops within a character."""
    tokenizer = byte_level()
    half = encode(tokenizer, "🙃")[:-1]
    text, ends = byte_ends(tokenizer, [*half, 0])
    assert text == "�"
    assert ends == [3] * len(half) + [-1]


def test_unusual_decoders() -> None:
    """A decoder that looks back is followed the slow way; one that rewrites its text is refused."""

    class Spaced:
        """Writes spaces between tokens: a piece depends on whether it is the first of the text."""

        def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
            return " ".join("abc"[number] for number in ids)

    assert byte_ends(Spaced(), [0, 2, 1]) == ("a c b", [1, 3, 5])

    class Counting(Spaced):
        """Marks every third token of a text."""

        def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
            return "".join("abc"[number] + "!" * (place % 3 == 2) for place, number in enumerate(ids))

    assert byte_ends(Counting(), [0, 1, 2, 0, 1, 2]) == ("abc!abc!", [1, 2, 4, 5, 6, 8])

    class Reversed(Spaced):
        def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str:
            return "".join("abc"[number] for number in reversed(ids))

    with pytest.raises(
        ArgumentError, match=r"tokenizer: expected a decoder that appends .*, got 'a.*' token by token and 'cba'"
    ):
        byte_ends(Reversed(), [0, 1, 2])


@pytest.mark.parametrize("text", [text for text in TEXTS if text == text.strip()])
def test_groups_cover_the_text(text: str) -> None:
    """Groups partition the tokens of both sides and the text's bytes; they are the smallest (H.9.4)."""
    tokenizers = [byte_level(), byte_level(280), metaspace(), *([characters(text)] if text else [])]
    for teacher in tokenizers:
        for student in tokenizers:
            ids = [
                encode_characters(one, text) if one is tokenizers[-1] and text else encode(one, text)
                for one in (teacher, student)
            ]
            groups = align_tokens(teacher, ids[0], student, ids[1])
            ends = [byte_ends(one, row)[1] for one, row in zip((teacher, student), ids, strict=True)]
            for side, row in enumerate(ids):
                taken = [place for group in groups for place in group[side]]
                assert taken == [place for place in range(len(row)) if ends[side][place] >= 0]
            last = [(ends[0][group.teacher[-1]], ends[1][group.student[-1]]) for group in groups]
            assert all(a == b for a, b in last)
            assert [a for a, _ in last] == sorted((set(ends[0]) & set(ends[1])) - {-1})
            assert (last[-1][0] if last else 0) == len(text.encode())
            assert all(group.teacher and group.student for group in groups)
            if teacher is student:
                assert groups == [g for g in groups if g.teacher == g.student]


def encode_characters(tokenizer: Tokenizer, text: str) -> list[int]:
    return [tokenizer.token_to_id(letter) for letter in text]


def test_groups_by_hand() -> None:
    """End tokens are in no group; sampled tokens need not be those that encoding would give."""
    teacher, student = byte_level(), characters("the cat")
    eos = teacher.token_to_id("<eos>")
    ids = [teacher.token_to_id(letter) for letter in ("t", "h", "e")]
    assert ids != encode(teacher, "the")
    groups = align_tokens(teacher, [*ids, eos], student, encode_characters(student, "the"))
    assert groups == [Group((0,), (0,)), Group((1,), (1,)), Group((2,), (2,))]
    whole = align_tokens(teacher, [*encode(teacher, "the"), eos], student, encode_characters(student, "the"))
    assert whole == [Group(tuple(range(len(encode(teacher, "the")))), (0, 1, 2))]
    assert align_tokens(teacher, [eos], student, []) == []


def test_other_texts() -> None:
    """Tokens of another text are refused, with the first difference."""
    teacher, student = characters("the cat"), byte_level()
    with pytest.raises(
        ArgumentError,
        match=r"teacher_ids: expected tokens of the student's text, which has 'the hat' around character 4, got "
        r"'the cat'\. Encode the student's text",
    ):
        align_tokens(teacher, encode_characters(teacher, "the cat"), student, encode(student, "the hat"))
    with pytest.raises(ArgumentError, match=r"which has 'the ca' around character 3, got 'the'"):
        align_tokens(teacher, encode_characters(teacher, "the"), student, encode(student, "the ca"))


# ------------------------------------------------------------------ losses


def random_pair(
    seed: int, teacher: int = 6, student: int = 4, length: int = 5
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    p, q = (2 * torch.randn(2, length, size, generator=generator, dtype=torch.float64) for size in (teacher, student))
    ids = [torch.randint(0, size, (2, length), generator=generator) for size in (teacher, student)]
    return p, ids[0], q, ids[1]


GROUPS = [
    [Group((0,), (0, 1)), Group((1, 2), (2,)), Group((3,), (3,))],
    [Group((0, 1, 2), (0, 1))],
]


def twin_merged(logits: Tensor, ids: Tensor, places: tuple[int, ...], temperature: float) -> Tensor:
    law = (logits / temperature).softmax(-1)
    found = law[places[-1]]
    for place in places[:-1]:
        found = found * law[place, ids[place]]
    return found


def twin_loss(kind: str, p: Tensor, q: Tensor, matched: list[list[int]], b: float) -> Tensor:
    if kind == "hybrid":
        mine, yours = [i for i, _ in matched], [j for _, j in matched]
        left = torch.cat([p[mine], 1 - p[mine].sum()[None]])
        right = torch.cat([q[yours], 1 - q[yours].sum()[None]])
        m = (1 - b) * left + b * right
        shared = (1 - b) * (left * (left / m).log()).sum() + b * (right * (right / m).log()).sum()
        rest = [p[[i for i in range(len(p)) if i not in mine]], q[[j for j in range(len(q)) if j not in yours]]]
        return shared + twin_loss("sorted", *rest, [], b)
    size = max(len(p), len(q))
    padded = [torch.cat([one, one.new_zeros(size - len(one))]).sort(descending=True).values for one in (p, q)]
    return (padded[0] - padded[1]).abs().sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_loss_twin(kind: str, seed: int) -> None:
    """Value and gradient group by group, at two temperatures; the four reductions."""
    p, p_ids, q, q_ids = random_pair(seed)
    q.requires_grad_()
    pairs = [[0, 1], [4, 2]]
    options = {"matched": torch.tensor(pairs), "student_weight": 0.3} if kind == "hybrid" else {}

    def loss(**more: object) -> Tensor:
        return uld_loss(kind, p, p_ids, q, q_ids, GROUPS, temperature=2.0, teacher_temperature=1.5, **options, **more)

    want = []
    for row, groups in enumerate(GROUPS):
        for group in groups:
            left = twin_merged(p[row], p_ids[row], group.teacher, 1.5)
            right = twin_merged(q[row], q_ids[row], group.student, 2.0)
            want.append(twin_loss(kind, left, right, pairs, 0.3))
    each = loss(reduction="none")
    assert each.shape == (2, 3)
    flat = torch.stack(want)
    assert torch.allclose(each.flatten()[:4], flat, atol=1e-10)
    assert not each[1, 1:].any()
    slopes = [torch.autograd.grad(one, q)[0] for one in (loss(), flat.mean())]
    assert (slopes[0] - slopes[1]).abs().max() < 1e-10
    total = flat.sum().item()
    assert loss(reduction="sequence").item() == pytest.approx(total / 2, abs=1e-10)
    by_row = (flat[:3].mean() + flat[3]).item() / 2
    assert loss(reduction="sequence_mean").item() == pytest.approx(by_row, abs=1e-10)
    assert loss(n_items=8, world_size=2).item() == pytest.approx(total / 4, abs=1e-10)


def test_merged_is_the_chain_rule() -> None:
    """Entries of a group are probabilities of strings; the other tokens' mass is what the row sums to."""
    p, ids, _, _ = random_pair(1)
    law = p[0].softmax(-1)
    got = merged(p[0], ids[0], [(0, 1, 2), (4,)])
    first = law[0, ids[0, 0]] * law[1, ids[0, 1]]
    assert torch.allclose(got[0], first * law[2], atol=1e-12)
    assert torch.allclose(got[1], law[4], atol=1e-12)
    assert got.sum(1).tolist() == pytest.approx([first.item(), 1.0])
    assert merged(p[0], ids[0], []).shape == (0, 6)


@pytest.mark.parametrize("seed", SEEDS)
def test_sorted_is_below_any_matching(seed: int) -> None:
    """At most the L1 of every one-to-one map, 0 under a permutation, alike when sides are swapped (H.9.4)."""
    p, ids, q, _ = random_pair(seed, 4, 4, 1)
    groups = [[Group((0,), (0,))]] * 2

    def loss(left: Tensor, right: Tensor) -> Tensor:
        return uld_loss("sorted", left, ids, right, ids, groups, reduction="none")[:, 0]

    laws = p[:, 0].softmax(-1), q[:, 0].softmax(-1)
    least = torch.stack([(laws[0] - laws[1][:, list(order)]).abs().sum(1) for order in permutations(range(4))]).amin(0)
    assert torch.allclose(loss(p, q), least, atol=1e-12)
    assert loss(p, p[..., [2, 0, 3, 1]]).abs().max() < 1e-12
    assert torch.allclose(loss(p, q), loss(q, p))


def test_hybrid_sees_what_sorted_cannot() -> None:
    """A permutation of shared tokens costs; equal laws do not; all tokens shared is Jensen-Shannon."""
    p, ids, q, _ = random_pair(3, 5, 5)
    groups = [[Group((t,), (t,)) for t in range(5)]] * 2
    matched = torch.tensor([[i, i] for i in range(5)])
    mask = torch.ones(2, 5, dtype=torch.bool)
    got = uld_loss("hybrid", p, ids, q, ids, groups, matched=matched, student_weight=0.25)
    assert got.item() == pytest.approx(sequence_loss("js", p, q, mask, student_weight=0.25).item(), abs=1e-10)
    assert abs(uld_loss("hybrid", p, ids, p, ids, groups, matched=matched).item()) < 1e-12
    assert uld_loss("hybrid", p, ids, p.flip(-1), ids, groups, matched=matched).item() > 0.01
    none = matched[:0]
    only = uld_loss("hybrid", p, ids, q, ids, groups, matched=none)
    assert only.item() == pytest.approx(uld_loss("sorted", p, ids, q, ids, groups).item(), abs=1e-12)


def test_hybrid_gradient_at_the_edges() -> None:
    """Probabilities of zero, and no mass left for the rest: finite value and gradient."""
    p = torch.tensor([[[0.0, -200.0, -300.0]]], requires_grad=True)
    q = torch.tensor([[[-300.0, 0.0, -200.0]]], requires_grad=True)
    ids = torch.zeros(1, 1, dtype=torch.int64)
    for matched in (torch.tensor([[0, 0], [1, 1]]), torch.tensor([[0, 0], [1, 1], [2, 2]])):
        loss = uld_loss("hybrid", p, ids, q, ids, [[Group((0,), (0,))]], matched=matched)
        assert loss.isfinite()
        assert torch.autograd.grad(loss, q)[0].isfinite().all()
        assert p.grad is None


def test_no_groups() -> None:
    """Rows and batches without any group give 0, connected; unaligned positions may hold NaN."""
    p, p_ids, q, q_ids = random_pair(0)
    q.requires_grad_()
    nothing = uld_loss("sorted", p, p_ids, q, q_ids, [[], []])
    nothing.backward()
    assert nothing.item() == 0
    assert not q.grad.any()
    p[0, 4] = math.nan
    with torch.no_grad():
        q[1, 3:] = math.nan
    loss = uld_loss("sorted", p, p_ids, q, q_ids, [GROUPS[0], []])
    (slope,) = torch.autograd.grad(loss, q)
    assert slope.isfinite().all()
    assert not slope[1].any()


def test_real_tokenizers() -> None:
    """From text to loss: lower for a student that is as sure of the teacher's text as the teacher than for another."""
    teacher, student = byte_level(), metaspace()
    text = "the cat sat"
    ids = [torch.tensor([encode(one, text)]) for one in (teacher, student)]
    groups = [align_tokens(teacher, ids[0][0].tolist(), student, ids[1][0].tolist())]
    sizes = teacher.get_vocab_size(), student.get_vocab_size()
    p, q = (9.0 * torch.nn.functional.one_hot(row, size) for row, size in zip(ids, sizes, strict=True))
    matched = matched_tokens(teacher, student)
    assert len(matched) > 10
    q.requires_grad_()
    near, far = (uld_loss("sorted", p, ids[0], one, ids[1], groups) for one in (q, q * 0))
    assert near < far
    hybrid = uld_loss("hybrid", p, ids[0], q, ids[1], groups, matched=matched)
    assert torch.autograd.grad(hybrid, q)[0].any()


def test_refuses_uld() -> None:
    p, p_ids, q, q_ids = random_pair(0)
    good = {"teacher_logits": p, "teacher_ids": p_ids, "student_logits": q, "student_ids": q_ids, "groups": GROUPS}
    matched = torch.tensor([[0, 1]])

    def refused(message: str, kind: str = "sorted", **changed: object) -> None:
        with pytest.raises(ArgumentError, match=message):
            uld_loss(kind, **{**good, **changed})

    refused(r"kind: expected one of 'sorted', 'hybrid', got 'sort'\. Did you mean 'sorted'\?", "sort")
    refused(r"matched: expected pairs of tokens for 'hybrid', got None\. Use matched_tokens", "hybrid")
    refused(r"matched: expected None for 'sorted', got one\. It is for 'hybrid'\.", matched=matched)
    refused(r"student_weight: expected None for 'sorted', got one\.", student_weight=0.5)
    for weight in (0, 1, math.nan):
        refused(r"student_weight: expected a number between 0 and 1", "hybrid", matched=matched, student_weight=weight)
    refused(r"temperature: expected a positive number, got 0\.", temperature=0)
    refused(r"teacher_temperature: expected a positive number, got -1\.", teacher_temperature=-1)
    refused(r"reduction: expected one of 'token'", reduction="mean")
    refused(
        r"teacher_ids: expected int64 of the first two sides of teacher_logits, \(2, 5, 6\), got torch\.int64 of shape",
        teacher_ids=p_ids[:, 1:],
    )
    refused(r"student_ids: expected int64 .*got torch\.float64", student_ids=q_ids.double())
    refused(
        r"groups: expected a list for each of the 2 rows of teacher_logits, got 1\. Call align_tokens",
        groups=GROUPS[:1],
    )
    for odd in (
        [Group((5,), (0,))],
        [Group((1,), (0,)), Group((0,), (1,))],
        [Group((0,), ())],
        [Group((0, 0), (1,))],
        [Group((-1,), (0,))],
    ):
        refused(
            r"groups\[0\]: expected rising places below 5 in (teacher|student)_logits, one or more a group, got",
            groups=[odd, []],
        )
    refused(r"matched: expected int64 \(M, 2\), got torch\.int64 of shape \(2,\)", "hybrid", matched=matched[0])
    refused(
        r"matched\[:, 0\]: expected different tokens from 0 to 5, got others", "hybrid", matched=torch.tensor([[6, 0]])
    )
    refused(
        r"matched\[:, 1\]: expected different tokens from 0 to 3, got others",
        "hybrid",
        matched=torch.tensor([[0, 1], [1, 1]]),
    )
    bad = q.clone()
    bad[1, 1, 0] = math.nan
    refused(r"student_logits\[1\]: expected numbers, got NaN or infinity\. Look", student_logits=bad)
    bad = p.clone()
    bad[0, 2, 0] = math.inf
    refused(r"teacher_logits\[0\]: expected numbers, got NaN or infinity\.", teacher_logits=bad)
