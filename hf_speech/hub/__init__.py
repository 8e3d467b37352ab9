"""A run and its numbers to a card."""
