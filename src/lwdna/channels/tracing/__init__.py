"""One forward pass, recorded operator by operator with the layouts of its results."""
