"""``python -m darkdeblur_trainer``, which is what ``torchrun -m`` needs."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
