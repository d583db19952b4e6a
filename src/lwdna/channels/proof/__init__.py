"""From a recorded pass to a channel graph that a second run has proved."""
