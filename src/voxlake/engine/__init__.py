"""How work is spread: map with retry, back-pressure and progress. Knows nothing of images."""
