"""Picks the partition, cache and ways that serve a scenario best; proves it or prints the gap (`orbitune choose`)."""
