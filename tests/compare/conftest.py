collect_ignore = ["spikingjelly_network.py"]  # a script, which runs when it is imported
