"""What every handler needs: configuration, secrets, errors, HTTP, queues, the ledger. Knows AWS and no vendor."""
