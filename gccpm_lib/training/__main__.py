"""A training without a notebook: `python -m gccpm_lib.training run.json`, also under torchrun."""

import json
import sys
from pathlib import Path

from gccpm_lib.files import FolderBusy
from gccpm_lib.training.loop import train
from gccpm_lib.training.run import Run


def main(path: str) -> None:
    """Train the run that a JSON file describes."""
    train(Run(**json.loads(Path(path).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)
    except (FolderBusy, ValueError, OSError, FloatingPointError) as error:  # one line says what is wrong and what to do
        sys.exit(f"{sys.argv[1]}: {error}")
