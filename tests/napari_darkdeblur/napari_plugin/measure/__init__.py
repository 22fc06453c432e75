"""Tests of the Metrics dock."""
