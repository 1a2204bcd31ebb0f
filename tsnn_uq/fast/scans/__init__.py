"""Scans of neurons over time, compiled."""
