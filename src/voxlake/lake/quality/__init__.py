"""What is worth knowing about data that were let in: rules, and what finds them."""
