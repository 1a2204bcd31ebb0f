"""Compiled code: vectors, threads, random bits, sums over spikes, scans of neurons and the ternary engine."""
