"""Tests of the Deblur dock."""
