"""The built-in data sets: one module for each, with the name of the data set."""
