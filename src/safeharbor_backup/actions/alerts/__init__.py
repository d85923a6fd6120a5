"""Who is sent the result of a run, and in which words."""
