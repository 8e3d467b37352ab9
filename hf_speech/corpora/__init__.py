"""A corpus on disk -> Parquet: listing, lengths, examples, shards, card; the corpus scripts build on this."""
