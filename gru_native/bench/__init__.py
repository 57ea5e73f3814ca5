"""The microbenchmark: forward and training step beside other engines, in one run on one machine.

``cases`` says what is computed, ``peers`` how each engine computes it, ``worker`` is the process that a peer runs in,
``compare`` lets the workers take turns, and ``report`` writes down what came out.
"""
