"""The channel graph: groups, operators, cost; plain data without tensors."""
