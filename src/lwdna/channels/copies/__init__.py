"""Copies of a network with other tensors in place of its own.

``skeleton`` copies a module and brings the sizes that torch's layers know in step with their
tensors; ``accepted`` says which networks can be copied; ``fake_shapes`` runs operators on tensors
without data; ``resize`` gives a network other widths, with weights sliced or drawn by ``redraw``,
which keeps the order that ``structure`` finds in the old ones (``structured`` draws it).
"""
