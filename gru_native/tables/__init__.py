"""Sequences in tables: what ``gru-native train``, ``evaluate``, ``predict``, ``tune`` and ``study`` stand on."""
