"""Mutation testing: changes one place of a module at a time and looks whether a test notices.

See `python -m tests.mutation --help`.
"""
