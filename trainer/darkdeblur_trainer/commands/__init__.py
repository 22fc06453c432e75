"""The commands of ``darkdeblur-train``, a module each.

A module has ``add_to(commands)``, which describes its arguments. torch and all that needs it is
imported when a command is carried out, so that ``--help`` is quick.
"""

from __future__ import annotations

from . import ablate, align, export, fit, fit_psf, prepare, synth, validate

COMMANDS = (fit, fit_psf, export, validate, ablate, prepare, align, synth)
