"""Tests of the synthesis of pairs."""
