"""The channel graph: plain data without tensors, and what it can be asked.

``axes`` says what the entries of an axis are in terms of groups; ``operators`` holds the operators
of a forward pass; ``cost`` makes closed forms of the widths from them; ``structure`` is all that
tracing has found, ``describe`` puts it into words, and ``graph`` is the :class:`ChannelGraph` that
users hold. ``edits`` are a user's own decisions.
"""
