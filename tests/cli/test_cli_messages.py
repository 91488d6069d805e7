"""The library's messages at the command line: keywords become the options that stand for them."""

from __future__ import annotations

import argparse

import pytest

from treeavg.cli import build_parser
from treeavg.cli.messages import one_line
from treeavg.errors import ArgumentError

VERBS = {
    "distill": ["distill", "a.txt", "words", "-o", "student"],
    "parse": ["parse", "student", "text.txt"],
    "average": ["average", "a.txt"],
}
#: Options that have no say in the library.
OWN = {"debug", "json", "output", "output_format", "threads", "help"}


def arguments_of(verb: str) -> argparse.Namespace:
    return build_parser().parse_args(VERBS[verb])


def shown(text: str, verb: str = "distill") -> str:
    return one_line(ArgumentError(text), arguments_of(verb))


@pytest.mark.parametrize("verb", ["distill", "parse"])
def test_every_option(verb: str) -> None:
    """As advice, and where it begins a message."""
    keywords = arguments_of(verb).keywords
    assert {"device", "format", "encoding", "batch_tokens"} <= keywords.keys()
    for name in keywords.keys() - OWN - {"projective", "words"}:  # these two below
        option = "--" + name.replace("_", "-")
        assert shown(f"{name}: expected more. Pass {name}='x-1', or {name}=2.5.", verb) == (
            f"{option}: expected more. Pass {option} x-1, or {option} 2.5."
        )


def test_options_of_distill() -> None:
    keywords = arguments_of("distill").keywords
    assert keywords.keys() >= set(
        "accumulate precision device learning_rate encoder_learning_rate resume checkpoint_minutes held_out "
        "batch_tokens loss distribution tags sentences compile temperature size epochs seed patience average layers "
        "words characters dropout encoder pretrained pooling frozen gold weights on_error threads student_weight "
        "detach_visits projective schedule".split()
    )
    assert "decode" in arguments_of("parse").keywords
    assert not hasattr(arguments_of("average"), "keywords")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pass resume=True to go on.", "Pass --resume to go on."),
        ("Pass compile=False.", "Pass no --compile."),
        ("Pass projective=False.", "Pass --no-projective."),
        ("Pass weights=None.", "Pass no --weights."),
        ("Pass sentences=.", "Pass --sentences."),
        ("Pass device='cuda:1'.", "Pass --device cuda:1."),
        ("Pass held_out=0.05, or more.", "Pass --held-out 0.05, or more."),
        ("Pass trust=True.", "Pass trust=True."),  # no option
        ("got labels=['a'].", "got labels=['a']."),  # no advice
        ("a.txt: expected x.", "a.txt: expected x."),
        ("words: expected a tree, got 'x'.", "words: expected a tree, got 'x'."),  # the name of a file
        ("layers: got 1.", "layers: got 1."),
        ("epochs: expected 1, got 0. Leave it out for 10.", "--epochs: expected 1, got 0. Leave it out for 12."),
        (
            "s/run: expected the options of the run, got others (epochs: 2 before, 3 now; task.encoder.size: 4 before, "
            "6 now; task.data: 'a' before, 'b' now; task.sentences: 3 before, 4 now). Pass the earlier ones.",
            "s/run: expected the options of the run, got others (--epochs: 2 before, 3 now; --size: 4 before, "
            "6 now; task.data: 'a' before, 'b' now; task.sentences: 3 before, 4 now). Pass the earlier ones.",
        ),
        ("two\nlines", "two lines"),
    ],
)  # fmt: skip
def test_messages(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_other_verbs() -> None:
    """Their keywords stay where they begin a message; advice is for all."""
    assert shown("jobs: expected 1. Pass jobs=None, or loss='kl'.", "average") == (
        "jobs: expected 1. Pass no --jobs, or loss='kl'."
    )


@pytest.mark.parametrize(
    ("verb", "advice"),
    [
        ("average", "Split the file, or pass --jobs 1."),
        ("parse", "Pass --batch-tokens with a smaller number, or split"),
    ],
)
def test_too_little_memory(verb: str, advice: str) -> None:
    assert f"for this input, got too little. {advice}" in one_line(MemoryError(), arguments_of(verb))


def test_what_moves_the_cursor_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files and arguments are data: whatever they hold, a message is one line of plain letters."""
    assert shown("a\x1b[31m\r\u202eb\nc: expected é, got 字.") == "a\\x1b[31m\\r\\u202eb c: expected é, got 字."
    for words in (["average", "a.txt", "--x\n\x1b[2J"], ["fit", "on-lstm", "a.txt", "-o", "b", "--x\n\x1b[2J"]):
        with pytest.raises(SystemExit) as stop:
            build_parser().parse_args(words)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert r"unrecognized arguments: --x \x1b[2J." in error
