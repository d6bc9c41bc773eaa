"""A SessionM event becomes one Braze send."""
