"""Fuzzing: damaged and hostile files of each kind that the program reads, and what must hold for each.

A case is made from a seed and its number, so it can be made again. `python -m tests.fuzz --help` explains the program.
"""
