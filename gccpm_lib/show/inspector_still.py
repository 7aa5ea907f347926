"""What stands in the inspector's place where no kernel runs: a notebook that is reopened, a page that is saved."""

import io

import numpy as np
from PIL import Image

from gccpm_lib.datasets.records import DataError, Person, read_person_image
from gccpm_lib.show import drawing
from gccpm_lib.show.inspector_data import Collection, examples, first_in_line

COUNT = 6  # persons on it
DOTS_PER_INCH = 80


def still_png(collection: Collection) -> bytes | None:
    """PNG of a few persons, labels above and the first set of predictions below; None where no picture can be read.

    Persons are chosen as in a report, suspicious labels first, else a third each of the worst, the middle and the best.
    """
    means = collection.means[0] if len(collection.means) else np.full(len(collection.persons), np.nan)
    rows = first_in_line(examples(means, COUNT), collection.suspicions)
    rows = [row for row in rows if _is_readable(collection.persons[row])]
    if not rows:
        return None
    persons = [collection.persons[row] for row in rows]
    poses = {"label": np.stack([person.keypoints for person in persons])}
    for name, found in list(collection.predictions.items())[:1]:
        poses[name] = np.where(np.isnan(found[rows]).any(axis=2, keepdims=True), 0, drawing.by_score(found[rows]))
    figure = drawing.pose_rows(persons, poses, collection.skeleton)
    figure.suptitle(f"{len(rows)} of {len(collection.persons):,} persons; run the cell to look at all of them", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(256).save(small, "png", optimize=True)
    return small.getvalue()


def _is_readable(person: Person) -> bool:
    try:
        return read_person_image(person).size > 0
    except DataError:
        return False
