"""Show: what a person looks at."""
