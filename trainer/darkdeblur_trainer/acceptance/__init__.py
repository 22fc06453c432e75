"""Acceptance: what weights gain on fixed pairs, beside methods that do not learn."""
