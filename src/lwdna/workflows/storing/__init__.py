"""Runs whose files are kept in a storage, while they work in a local folder."""
