"""One run of a network on fake tensors, and what is recorded meanwhile.

``record`` sees every operator and applies its rule, ``watch`` every call of the network's own code
that takes or returns sizes; ``integers`` makes the integers of modules remember their origin;
``lifetimes`` notes which memory is alive; ``cuts`` ends channels where a user says so;
``attention`` takes fused kernels apart. All that was seen is in a ``session``.
"""
