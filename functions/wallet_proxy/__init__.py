"""A member's live offers and points inside a message."""
