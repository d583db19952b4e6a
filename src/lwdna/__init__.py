"""lwdna: find how many channels each layer of a convolutional network should have."""
