"""How the backups are: the reasons with their codes, and the document, file and metrics that say so."""
