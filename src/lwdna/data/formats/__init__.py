"""Layouts of image sets on disk, one file each: what is told of them, how to find and list them."""
