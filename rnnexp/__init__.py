"""Runs and compares studies of recurrent networks on text, and exports models that accept raw text."""

__version__ = "0.1.0"
