"""``treeavg completion``: scripts that let a shell complete verbs, options and files."""

from __future__ import annotations

import argparse
from typing import Any

from treeavg.cli import options

DESCRIPTION = """\
Print a completion script.

  bash:  treeavg completion bash > ~/.local/share/bash-completion/completions/treeavg
  zsh:   treeavg completion zsh > ~/.zfunc/_treeavg        (with fpath+=~/.zfunc before compinit)
  tcsh:  treeavg completion tcsh > ~/.treeavg.csh          (source it in ~/.tcshrc)
"""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "completion", "print a shell completion script", DESCRIPTION)
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script; every positional argument that is not a choice is a file."""
    import shtab

    from treeavg.cli import build_parser

    parser = build_parser()
    _complete_files(parser)
    print(shtab.complete(parser, shell=arguments.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser) -> None:
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                _complete_files(child)
        elif not action.choices and action.metavar in ("FILE", "TEACHER", "W"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
