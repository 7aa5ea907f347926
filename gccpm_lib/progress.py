"""Progress bars for those who watch: a widget in JupyterLab, a line in a terminal, nothing where TQDM_DISABLE is set."""

import os

if os.environ.get("TQDM_DISABLE"):
    from tqdm import tqdm  # tqdm's widget doesn't heed it, and would fill the notebooks that run in batch
else:
    from tqdm.auto import tqdm

__all__ = ["printable", "tqdm"]


def printable(text: object) -> str:
    """In one line, and without what would steer a terminal: file names may hold line breaks and escape codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
