"""Tests of the Compare dock."""
