"""Arrays to numbers with intervals. Knows no lake."""
