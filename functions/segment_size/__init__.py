"""How many people are in a Braze segment, for social proof."""
