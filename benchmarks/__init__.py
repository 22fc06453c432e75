"""How fast it is: run ``python -m benchmarks``; see README.md beside this file."""
