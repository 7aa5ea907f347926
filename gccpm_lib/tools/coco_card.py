"""Publish a trained COCO network: a half-precision file and a model card in which every number was measured on that file.

    python -m gccpm_lib.tools.coco_card CHECKPOINT --name gccpm-2stage-coco --trained-on data/photographs \\
        --scenes data/coco_small --photos data/leeds_lip --data gccpm_lib/tools/templates/data_photographs.md

Scores as `tools.photographs` explains them, beside those of another network (--baseline). The peak from which a joint is
likely right comes from the scenes' training persons that --trained-on left out, and stands in the file.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gccpm_lib import checkpoints
from gccpm_lib.datasets import coco
from gccpm_lib.datasets.records import Person
from gccpm_lib.evaluation import average_precision, joint_errors, pckh
from gccpm_lib.files import write_beside
from gccpm_lib.skeletons import COCO
from gccpm_lib.tools import photographs
from gccpm_lib.tools.model_card import by_peak, described, pooled, publish, template
from gccpm_lib.weight_files import SHIPPED, SHIPPED_NETWORK

AP_COLUMNS = ("AP", "AP50", "AP75", "APM", "APL", "AR")


def held_out(scenes: str | Path, trained_on: str | Path) -> list[Person]:
    """Training persons of scenes in whose pictures nobody was trained on. ValueError where there is none.

    A pool's pictures are links: the same picture is known by where it lies, whatever other data call theirs.
    """
    trained = {person.image_path.resolve() for person in coco.read_coco(trained_on, "train")}
    persons = [person for person in coco.read_coco(scenes, "train") if person.image_path.resolve() not in trained]
    if not persons:
        raise ValueError(f"{trained_on}: left out no picture of {scenes}; leave some out, for the calibration")
    return persons


def sure_peak(errors: np.ndarray, found: np.ndarray) -> float:
    """The peak that best parts joints that are right from all others: fewest right ones below it, others from it on.

    errors (N, K) in tolerances, nan without a label, found (N, K, 3). A joint without a label isn't right: most are hidden
    or outside the picture. Joints that the network lacks have nan as their peak. Of several such peaks the lowest.
    """
    known = ~np.isnan(found[:, :, 2])
    peaks, right = found[:, :, 2][known], (errors <= 1)[known]
    order = np.argsort(peaks, kind="stable")
    misjudged = np.cumsum(np.where(right[order], 1, -1))  # after so many joints lie below: right ones lost, others spared
    count = int(np.argmin([0, *misjudged]))
    return float(peaks[order[count]]) if count < len(order) else float(np.nextafter(peaks.max(), np.inf))


def summary(measured: Mapping) -> dict:
    """Scores of one network by name, a row (found, low, high) in percent each, for the card's columns."""
    rows = {f"limb joints, {group}": row for group, (_, row) in measured["limbs"].items()}
    for key, label in (("matches", "all 17 joints"), ("limb_matches", "limb joints alone")):
        if key in measured:
            score, spread = (f(measured[key]) for f in (average_precision.scores, average_precision.intervals))
            for name in AP_COLUMNS:
                rows[f"{name}, {label}"] = pd.Series([score[name], *spread[name]], ["found", "low", "high"])
    rows["limb joints, PCKh@0.5, sports"] = pooled(measured["photos"], {"limbs": pckh.LIMB_JOINTS}).loc["limbs"]
    return rows


def calibrate(checkpoint: str, persons: Sequence[Person]) -> float:
    """The `sure_peak` of a checkpoint's joints on these persons, with flip."""
    network, recipe = checkpoints.load_network(checkpoint), checkpoints.recipe_of(checkpoint)
    found = photographs.scene_joints(network, recipe, persons)
    return sure_peak(joint_errors.errors(persons, found, COCO), found)


def measure(file: Path, scenes: str, photos: str, baseline: str, num_photos: int | None = None) -> dict:
    """All numbers of the card, those of the other network too; num_photos: the first so many photos, None: all."""
    network, recipe = checkpoints.load_network(file), checkpoints.recipe_of(file)
    persons = coco.read_coco(scenes, "val")
    own, other = (
        photographs.measure(net, how, scenes, photos, num_photos)
        for net, how in ((network, recipe), (checkpoints.load_network(baseline), checkpoints.recipe_of(baseline)))
    )
    found = own["found"]
    return {
        **described(file, network, recipe),
        "baseline": baseline,
        "counts": {group: count for group, (count, _) in own["limbs"].items()},
        "num_photos": len(own["photos"]),
        "scores": summary(own),
        "baseline_scores": summary(other),
        "gain": pckh.paired_interval(own["errors"] / 2, other["errors"] / 2, photographs.LIMBS),
        "by_joint": joint_errors.by_joint(own["errors"], COCO),
        "kinds": joint_errors.kind_shares(joint_errors.kinds(persons, found, COCO), COCO),
        "peaks": by_peak(own["errors"], found, recipe.sure_peak),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish and measure what the command line names; a network of the same name is replaced when all is done."""
    parser = argparse.ArgumentParser(prog="gccpm_lib.tools.coco_card", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="of a COCO recipe")
    parser.add_argument("--name", required=True, help="by which load_network finds it")
    for option in ("trained-on", "scenes", "photos"):
        parser.add_argument(f"--{option}", required=True, metavar="FOLDER")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help="Markdown on the photographs and terms")
    parser.add_argument("--terms", default="research use, as the photographs")
    parser.add_argument("--baseline", default=SHIPPED_NETWORK, metavar="NETWORK")
    parser.add_argument("--num-photos", type=int, metavar="N", help="the first N photos; all by default")
    parser.add_argument("--folder", type=Path, default=SHIPPED)
    options = parser.parse_args(arguments)
    persons = held_out(options.scenes, options.trained_on)
    peak, data = calibrate(options.checkpoint, persons), options.data.read_text(encoding="utf-8").strip()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = publish(options.checkpoint, Path(folder) / f"{options.name}.safetensors", options.terms, round(peak, 3))
        measured = measure(file, options.scenes, options.photos, options.baseline, options.num_photos)
        text = template("coco_card.md.j2").render(name=options.name, data=data, num_held_out=len(persons), **measured)
        card = write_beside(file.with_suffix(".md"), text)
        for written in (file, card):
            print(written.replace(options.folder / written.name))


if __name__ == "__main__":
    main()
