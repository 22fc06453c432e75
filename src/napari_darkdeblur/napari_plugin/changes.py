"""What was changed for a while, and is to be put back."""

from __future__ import annotations

from typing import Any


class Changes:
    """Changes attributes, and puts back what they were before the first change.

    Objects that have been taken out of the viewer meanwhile get theirs back as well. What was
    changed by others and is not named here stays as it is.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[int, str], tuple[Any, Any]] = {}

    def keep(self, thing: Any, name: str) -> None:
        """Remember an attribute that is going to be changed, here or elsewhere."""
        self._before.setdefault((id(thing), name), (thing, getattr(thing, name)))

    def set(self, thing: Any, name: str, value: Any) -> None:
        """Change an attribute.

        Parameters
        ----------
        thing : object
            Object whose attribute is changed.
        name : str
            Name of the attribute.
        value : object
            Value that the attribute is given.
        """
        self.keep(thing, name)
        _set(thing, name, value)

    def undo(self) -> None:
        """Put everything back, the last change first, and forget it."""
        for (_, name), (thing, value) in reversed(self._before.items()):
            _set(thing, name, value)
        self._before.clear()


def _set(thing: Any, name: str, value: Any) -> None:
    # Setting `visible` reads the layer's pixels, even if nothing changes.
    if getattr(thing, name) != value:
        setattr(thing, name, value)
