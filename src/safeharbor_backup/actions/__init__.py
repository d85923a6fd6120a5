"""What it does: a package or module for each action, from settings to a frozen result; `run` is where one begins."""
