"""The uploads tree: walked in the archive's order, read while others write to it."""
