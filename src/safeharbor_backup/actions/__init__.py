"""The actions: a package or module for each, from settings to a frozen result; `run` is where one begins."""
