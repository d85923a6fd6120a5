"""Which job is due, and the loop that runs it."""
