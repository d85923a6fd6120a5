"""The state of the backups: the reasons with their codes, and the document, file and metrics that show it."""
