"""Requests made out of the API descriptions, put to the running bundle: `make fuzz`."""
