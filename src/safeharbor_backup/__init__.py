"""Safe Harbor: backups of a PostgreSQL database and its uploads that are proven to restore."""

__version__ = "0.1.0"
