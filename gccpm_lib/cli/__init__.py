"""Command line: `gccpm predict`."""
