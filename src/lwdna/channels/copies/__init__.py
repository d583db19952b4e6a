"""Copies of a network: without data, at other widths, with fresh weights."""
