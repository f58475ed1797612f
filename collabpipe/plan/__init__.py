"""From settings to recipes, and where the files of a study lie."""
