"""What restoring is good for: other programs' work on images before and after it.

    python -m benchmarks applications [text] [nuclei] [detection] [--quick] [--out FOLDER]

The paper's section 3.2 shows pictures of three uses: text recognition, detection and segmentation.
Here they are measured. Sharp images are darkened, blurred with kernels of a known size and given
noise, as the trainer does it; then some other program does its work on the blurred image, on the
restored one, and on the sharp one of the same darkness. docs/applications.md has the results.
"""

from .command import main

__all__ = ["main"]
