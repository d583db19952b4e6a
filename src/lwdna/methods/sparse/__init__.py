"""Sparse training on the channel graph."""
