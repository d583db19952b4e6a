"""The file a user keeps: which network, how wide each group, what it costs, how it was found."""
