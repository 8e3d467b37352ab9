"""Predictions or scores to numbers with intervals."""
