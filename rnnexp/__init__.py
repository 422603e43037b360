"""Studies of recurrent networks on text: launched, compared, and exported as models that take text."""

__version__ = "0.1.0"
