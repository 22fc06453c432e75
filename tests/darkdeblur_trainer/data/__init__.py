"""Tests of the training images."""
