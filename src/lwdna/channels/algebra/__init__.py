"""Layouts of tensor axes and the algebra that unifies them.

``layout`` says what the entries of an axis are in terms of unit variables, and makes axes agree;
``lengths`` are whole numbers that remember which axes they were computed from; ``source`` says
where in a user's code something happens. Nothing here knows of operators or networks.
"""
