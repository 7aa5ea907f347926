"""Picture names: a picture found by the name that a row gives it, and names that are nearly there."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

MOST_BYTES = 255  # of a file's name, on every usual file system


def bare(name: str) -> str:
    """A path's last part, whichever way its slashes lean."""
    return re.split(r"[/\\]", name)[-1]


def too_long(name: str) -> str:
    """For messages: the beginning of a name that no file can have, and its length; "" for one that a file can have."""
    parts = re.split(r"[/\\]", name)
    long = len(name) > 4000 or any(len(part.encode(errors="surrogatepass")) > MOST_BYTES for part in parts)
    return f"a name of {len(name):,} characters that begins {name[:40]!r}" if long else ""


def file_names(folder: Path) -> set[str]:
    """Names of the files in a folder; none where there is no such folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if not entry.is_dir()}


def near_miss(name: str, names: Iterable[str]) -> str:
    """For messages: which of the names is the same but for case, normal form, slashes or blanks; "" where none is."""
    close = next((other for other in names if other != name and _plain(other) == _plain(name)), None)
    if close is None:
        return ""
    found = [what for what, alike in _DIFFERENCES.items() if alike(close) != alike(name)]
    return f" ({close!r} is there: it differs in {' and '.join(found)})"


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


_DIFFERENCES = {  # what may differ -> what a name is reduced to so that nothing else shows
    "case": lambda name: re.sub(r"[\W_]", "", _normal(name)),
    "the way its letters are composed (Unicode's normal form)": lambda name: "".join(c for c in name if ord(c) > 127),
    "its slashes": lambda name: re.sub(r"[^/\\]", "", name),
    "blanks": lambda name: re.sub(r"\S", "", name),
}


def _plain(name: str) -> str:
    return re.sub(r"\s", "", _normal(name).casefold().replace("\\", "/"))


class ImageNames:
    """The images of a COCO file by id and by name, to find out which of them a row of results is about."""

    def __init__(self, images: Mapping[int, dict]):
        self.images, self.by_name = images, defaultdict(list)
        for number, image in images.items():
            if isinstance(image.get("file_name"), str):
                self.by_name[bare(image["file_name"])].append(number)

    def id_of(self, row: Mapping):
        """The id of the row's image: by its file_name where both have one, else by its image_id; None where none fits.

        Several programs number pictures in several ways, so a name counts more than a number.
        """
        name, number = row.get("file_name"), row.get("image_id")
        known = isinstance(number, int | str) and number in self.images
        own = self.images[number].get("file_name") if known else None
        if not (isinstance(name, str) and self.by_name) or (known and not isinstance(own, str)):
            return number if known else None
        same = self.by_name.get(bare(name), [])
        if number in same:
            return number
        same = [i for i in same if self.images[i]["file_name"] == name] or same
        return same[0] if len(same) == 1 else None

    def strange(self, row: Mapping) -> str:
        """For messages: what the row says of its image, and what comes near it."""
        name = row.get("file_name")
        if not (isinstance(name, str) and self.by_name):
            return f"image_id {row.get('image_id')!r}"
        if len(self.by_name.get(bare(name), [])) > 1:
            return f"file_name {name!r}, which several images have,"
        return f"file_name {name!r}{near_miss(bare(name), self.by_name)}"
