"""Who hears of how a run ended, and in which words."""
