"""What each group of a trained network can lose: one group is sliced at a time, and measured."""
