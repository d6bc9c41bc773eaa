"""One client per vendor: typed calls in, typed results or errors out. Knows vendors and HTTP, and no AWS."""
