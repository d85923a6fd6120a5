"""One module for each command, and nothing else."""
