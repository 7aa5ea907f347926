"""Tools: model cards, benchmark, estimates."""
