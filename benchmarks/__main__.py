"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import platform
import sys

import torch

from . import applications, forward, gpu, startup, tiling, train_step

# A subject is a module with `run(quick, rounds)`, which prints Markdown.
SUBJECTS = {
    "forward": forward,
    "tiling": tiling,
    "gpu": gpu,
    "startup": startup,
    "train_step": train_step,
}


def main() -> None:
    """Run the subjects that were asked for."""
    if sys.argv[1:2] == ["applications"]:
        # Times nothing, and has options of its own.
        sys.exit(applications.main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("subject", nargs="*", help=f"{', '.join(SUBJECTS)}; default: all")
    parser.epilog = "See also: python -m benchmarks applications --help"
    parser.add_argument("--quick", action="store_true", help="small images and few rounds")
    parser.add_argument("--rounds", type=int, help="runs of everything (default: 7, quick: 3)")
    arguments = parser.parse_args()
    if unknown := set(arguments.subject) - SUBJECTS.keys():
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, {platform.system()}"
    )
    for subject in arguments.subject or SUBJECTS:
        print(f"\n## {subject}\n", flush=True)
        rounds = arguments.rounds or (3 if arguments.quick else 7)
        SUBJECTS[subject].run(quick=arguments.quick, rounds=rounds)


if __name__ == "__main__":
    main()
