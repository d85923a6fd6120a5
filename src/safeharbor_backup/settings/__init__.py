"""What a run goes by: read from the environment or an app's configuration, and checked."""
