# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of _pure.py: the same functions, the same errors, the same results."""
