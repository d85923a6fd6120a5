"""Takes a backup: looks first, writes the archive, proves it, publishes it, prunes."""
