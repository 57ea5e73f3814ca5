"""The comparison with other engines: forward and training step, in one run on one machine.

``cases`` says what is computed, ``peers`` how each engine computes it, ``worker`` is the process that a peer runs in,
``compare`` lets the workers take turns, ``report`` writes down what came out, and ``summary`` keeps what the documents
need of it.
"""
