"""One file a verb: the only place where rooms meet. Each offers `run(args)`, which returns the exit code."""
