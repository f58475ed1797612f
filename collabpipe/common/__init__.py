"""Shared ground: errors, files, seeds, progress, validated models, and where something was made."""
