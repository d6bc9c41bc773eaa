"""Says which caller may use which route."""
