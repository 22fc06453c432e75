"""The commands of ``darkdeblur``, a module each.

A module has ``add_to(commands)``, which describes its arguments. torch and all that needs it is
imported when a command is carried out, so that ``--help`` is quick.
"""

from __future__ import annotations

from . import deblur, demo, evaluate, models, psf

COMMANDS = (deblur, psf, evaluate, models, demo)
