"""Data: read, checked, split, batched."""
