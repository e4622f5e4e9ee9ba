"""The only room that writes images outside the lake."""
