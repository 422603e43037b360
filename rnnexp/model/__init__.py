"""Builds the Keras model of a trial and its optimizer from settings and the size of the vocabulary.

Knows nothing of data sets, epochs, or where a model is stored.
"""
