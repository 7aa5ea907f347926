"""Report: notebooks -> pages."""
