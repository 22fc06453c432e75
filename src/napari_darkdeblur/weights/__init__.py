"""Bundled weights, one ``NAME.safetensors`` each; their model cards are in docs/models/."""

# For CPUs, and where nobody chooses.
DEFAULT_MODEL = "small-v2"
# The paper's network, 16 times the work. What is trained as docs/training.md says and put in the
# models folder under this name is found as a bundled one would be.
THOROUGH_MODEL = "paper-v1"
# Finds kernels and restores nothing: what the search for a kernel asks, too, where it is there.
KERNEL_NET = "kernel-net"
# Not a file: one of the two, by device and size.
AUTO_MODEL = "auto"
