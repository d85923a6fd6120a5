"""Which archives there are, which can be relied on, and which will stay."""
