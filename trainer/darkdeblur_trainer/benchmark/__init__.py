"""Benchmark on fixed synthesised pairs: models beside methods that do not learn."""
