"""Tests of finding blur kernels."""
