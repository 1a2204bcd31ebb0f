"""What is compiled or close to the machine: vectors, threads, random bits, sums over spikes, scans, the engine."""
