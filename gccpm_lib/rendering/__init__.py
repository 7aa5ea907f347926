"""Rendering: people without a download, drawn with their labels."""
