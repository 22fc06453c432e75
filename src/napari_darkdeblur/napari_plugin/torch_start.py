"""Loading PyTorch, which takes seconds and, on Windows, may fail once Qt is loaded."""

from __future__ import annotations

from ..errors import DarkDeblurError


class TorchError(DarkDeblurError, ImportError):
    """PyTorch cannot be loaded; the message is one sentence for the user."""


def load_torch() -> None:
    """Import torch; call it in a thread.

    Raises
    ------
    TorchError
        It cannot be imported.
    """
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise TorchError(
            f"PyTorch cannot be loaded ({reason}); reinstall it, on Windows also the Microsoft "
            "Visual C++ Redistributable, and if that does not help start napari with "
            'python -c "import torch, napari; napari.Viewer(); napari.run()".'
        ) from error
