"""One file per verb, which connects the packages. Each has `run(args)`, which returns the exit code."""
