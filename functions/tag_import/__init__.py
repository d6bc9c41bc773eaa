"""A Braze segment becomes tags in SessionM."""
