"""Turns a named data set or a file into token arrays on disk and into batches; defines the task of a data set.

Does not import the model code. Keras is used only to download the IMDB files.
"""
