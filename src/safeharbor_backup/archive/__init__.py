"""The archive: format 1 as `docs/archive-format.md` specifies it."""
