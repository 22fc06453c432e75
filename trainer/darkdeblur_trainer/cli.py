"""``darkdeblur-train``: from a folder of sharp photographs to a weights file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from napari_darkdeblur import __version__
from napari_darkdeblur.arguments import ArgumentParser, CommandError
from napari_darkdeblur.errors import DarkDeblurError

from .commands import COMMANDS

USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 1 training failed, 2 a mistake in what was given, 128 + n stopped by
        signal n after saving.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``.
    """
    try:
        arguments = parse_arguments(argv)
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return 130
    except (CommandError, OSError) as error:
        return _complain("error", error, USER_ERROR)
    except DarkDeblurError as error:
        # Imported late: torch takes seconds, and --help needs none of it.
        from .checkpoint import CheckpointError
        from .metrics_logger import MetricsError
        from .training import TrainingError

        if isinstance(error, (TrainingError, CheckpointError, MetricsError)):
            return _complain("stopped", error, 1)
        return _complain("error", error, USER_ERROR)
    return code


def _complain(kind: str, error: Exception, code: int) -> int:
    # Of several processes that torchrun started, all know the error; one tells it.
    if os.environ.get("RANK", "0") == "0":
        print(f"darkdeblur-train: {kind}: {error}", file=sys.stderr)
    return code


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Divide the command line into its arguments, without carrying anything out.

    Raises
    ------
    CommandError
        There is no such command or option, or something is missing.
    SystemExit
        After ``--help`` and ``--version``.
    """
    parser = _parser()
    arguments, left = parser.parse_known_args(argv)
    # argparse takes positional arguments only where the first of them are; KEY=VALUE is as good
    # after the options.
    overrides = [text for text in left if "=" in text and not text.startswith("-")]
    takes_overrides = hasattr(arguments, "overrides")
    unknown = [text for text in left if not takes_overrides or text not in overrides]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if takes_overrides:
        arguments.overrides = [*arguments.overrides, *overrides]
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="darkdeblur-train",
        description="Train the DarkDeblurNet generator and export its weights.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for command in COMMANDS:
        command.add_to(commands)
    return parser
