"""From settings and a vocabulary's size to a Keras model, and the optimizer that fits it.

Knows nothing of data sets, epochs, or where a model is kept.
"""
