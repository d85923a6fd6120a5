"""The page that shows how the backups are."""
