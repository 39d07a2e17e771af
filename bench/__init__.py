"""Speeds and coverage, measured and written into docs/; not part of the package."""
