"""The layouts that come with lwdna, one per file."""
