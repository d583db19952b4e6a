"""Tests that start Ray or a storage server: `make test-cluster`."""
