"""Collections: large numbers of pictures, embedded or predicted in shards that are written once."""
