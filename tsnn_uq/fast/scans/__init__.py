"""Compiled scans of neurons over time."""
