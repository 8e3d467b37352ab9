"""Rows to batches: the schema, the readers, split rules, checks, decoding and batching."""
