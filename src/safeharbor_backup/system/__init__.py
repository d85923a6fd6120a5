"""The operating system: processes, signals, files that are published whole, locks, what filesystems can do."""
