"""Progress bars for those who watch: a widget in JupyterLab, a line in a terminal, nothing where TQDM_DISABLE is set."""

import os

if os.environ.get("TQDM_DISABLE"):
    from tqdm import tqdm  # tqdm's widget doesn't heed it, and would fill the notebooks that run in batch
else:
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
