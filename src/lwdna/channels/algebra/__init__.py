"""Layouts of tensor axes and the algebra that unifies them."""
