"""Answers GET /health."""
