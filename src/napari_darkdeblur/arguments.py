"""What the command lines of both packages have in common."""

from __future__ import annotations

import argparse
from typing import NoReturn

from .errors import DarkDeblurError


class CommandError(DarkDeblurError):
    """What was asked for on a command line cannot be done."""


class ArgumentParser(argparse.ArgumentParser):
    """Argument parser whose complaints are errors like all the others, not an exit."""

    def error(self, message: str) -> NoReturn:
        """Raise `CommandError`."""
        raise CommandError(f"{message} (see {self.prog} --help).")
