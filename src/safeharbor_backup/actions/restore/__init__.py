"""Restores an archive all or nothing: verify, plan, confirm, stage, swap, settle; and goes back, or finishes."""
