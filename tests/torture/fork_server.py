"""A process that has everything imported and forks one that runs ``treeavg``, as often as it is asked to.

Most of a short training is imports; a kill should find the work. Lines of JSON in, one number out: ``["start", words,
folder, log]`` gives a process number, ``["poll", number]`` and ``["wait", number]`` its exit code, -1 while it runs.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Serve until standard input ends."""
    import treeavg.averaging.average
    import treeavg.formats.text  # noqa: F401

    for request in sys.stdin:
        what, *given = json.loads(request)
        answer = _start(*given) if what == "start" else _ended(given[0], wait=what == "wait")
        print(answer, flush=True)


def _start(words: list[str], folder: str, log: str) -> int:
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        os.chdir(folder)
        errors, nothing = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), os.open(os.devnull, os.O_RDONLY)
        for own, other in ((nothing, 0), (errors, 1), (errors, 2)):
            os.dup2(own, other)
        from treeavg.cli import main as treeavg

        code = treeavg(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _ended(number: int, *, wait: bool) -> int:
    found, status = os.waitpid(number, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) % 256 if found else -1


if __name__ == "__main__":
    main()
