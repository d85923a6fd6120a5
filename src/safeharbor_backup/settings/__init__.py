"""What a run works with: read from the environment or an app's configuration, and checked."""
