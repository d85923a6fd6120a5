"""Proof by doing it: an archive is restored into a scratch database and directory, compared, and both are removed."""
