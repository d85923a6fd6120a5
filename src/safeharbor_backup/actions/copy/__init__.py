"""`copy`: an archive into another database and directory, for staging and laptops; never into the configured ones."""
