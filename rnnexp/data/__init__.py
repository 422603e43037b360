"""From a data set's name or file to token arrays on disk, and from those to batches; and the task they pose.

Knows nothing of networks. Keras is used only where the IMDB files have to be downloaded.
"""
