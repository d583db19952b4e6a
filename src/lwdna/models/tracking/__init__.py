"""Networks for visual tracking and their parts."""
