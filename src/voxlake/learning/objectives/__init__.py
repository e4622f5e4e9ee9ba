"""What a network is asked to make small, and what is measured of its answers."""
