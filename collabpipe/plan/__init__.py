"""From settings to recipes, paths, and what the rules ask for."""
