"""The built-in data sets, a module each; the module's name is the data set's."""
