"""The ``darkdeblur`` command.

Exit codes: 0 all done; 1 some images of a folder failed, or nobody reads the output; 2 the
user made a mistake, or the image or model cannot be used; 130 interrupted; 129 and 143 ended by
SIGHUP and SIGTERM.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from .arguments import ArgumentParser
from .commands import COMMANDS
from .errors import DarkDeblurError, sentence_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``darkdeblur`` command; return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; the default is those of the process.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``.
    """
    # What tifffile finds wrong with a file is told by a sentence, if it matters.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with _signals_unwind():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough (darkdeblur models | head). What is left in
        # the buffer must not fail again when the interpreter closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (DarkDeblurError, OSError) as error:
        print(f"darkdeblur: error: {sentence_of(error)}", file=sys.stderr)
        return 2
    return code


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process as an exception does: half-written files are removed.

    Not in another thread than the main one, where no handlers can be set.
    """

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # What nohup ignores stays ignored.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with suppress(ValueError):
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    from . import __version__

    parser = ArgumentParser(
        prog="darkdeblur",
        description="Remove motion blur from photographs and microscopy frames taken in "
        "too little light.",
    )
    parser.add_argument("--version", action="version", version=f"darkdeblur {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
