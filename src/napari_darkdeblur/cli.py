"""The ``darkdeblur`` command.

Exit codes: 0 all done; 1 some images of a folder failed, or nobody reads the output; 2 the
user made a mistake, or the image or model cannot be used; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .arguments import ArgumentParser
from .commands import COMMANDS
from .errors import DarkDeblurError, sentence_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``darkdeblur`` command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; the default is those of the process.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``.
    """
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
        return _complain(sentence_of(error))
    return code


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


def _complain(sentence: str) -> int:
    print(f"darkdeblur: error: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
