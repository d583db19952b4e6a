"""From recorded layouts to a graph that was proved by running the network again.

``freeze`` turns a session into a draft of the graph; ``verify`` runs the network at other widths
and pins what cannot move; ``repair`` first tries attributes of modules that ought to follow;
``metadata`` finds sizes that no run reads; ``apply_edits`` carries out a user's decisions.
"""
