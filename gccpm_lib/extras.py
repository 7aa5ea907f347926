"""Extras: packages that not every use needs, and what to say where one is missing.

`pip install gccpm` brings what loading, training, scoring and `gccpm predict` need; exported files, notebooks and rendered
people need an extra of pyproject.toml.
"""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """For the imports of an extra's packages: ModuleNotFoundError in one line that says how to get a missing one."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in {"", "gccpm_lib", *sys.stdlib_module_names}:
            raise
        raise ModuleNotFoundError(
            f'{package} is not installed; pip install "gccpm[{name}]", or in the project\'s folder pip install ".[{name}]"',
            name=error.name,
        ) from error


def import_advice(error: ImportError) -> str:
    """One line for a failed import; OpenCV's needs a word of its own, since it comes in two packages."""
    if error.name == "cv2" or "libGL" in str(error) or "libgthread" in str(error) or "libglib" in str(error):
        return (
            f"OpenCV can't be imported ({error}); without a screen: pip uninstall opencv-python, then "
            "pip install --force-reinstall opencv-python-headless, or install the system's libGL (Debian: apt-get install "
            "libgl1 libglib2.0-0)"
        )
    return str(error)
