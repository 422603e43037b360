"""Exports the model of one trial as a bundle that accepts raw text, verifies the bundle, and uses it.

Does not read studies or runs: the caller passes the origin of the model.
"""
