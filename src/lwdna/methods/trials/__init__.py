"""The search by trials: short trainings teach the law of a network, the law chooses the widths."""
