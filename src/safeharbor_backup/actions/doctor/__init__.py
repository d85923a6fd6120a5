"""Checks everything that makes a run fail, before it does; changes nothing and leaves nothing behind."""
