"""What runs remember beside the archives: restores, outcomes, evidence. Backups can be restored without it."""
