"""LIP's labels against COCO's: how far their joints lie apart for every person, and what became of each person."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gccpm_lib.datasets import lip_origin
from gccpm_lib.datasets.lip_origin import CocoPerson, LipList
from gccpm_lib.datasets.records import DataError
from gccpm_lib.skeletons import COCO, LIP

# Median distance between LIP's and COCO's joints by the root of the crop's area. Of 38 real persons none is above 0.05.
ODD_DISTANCE = 0.1  # one person this far off is listed as odd
WRONG_FILE_DISTANCE = 0.25  # a typical person this far off: the whole csv is of something else
FEWEST_TO_JUDGE = 20  # persons; of fewer each is judged by itself only
ODD_OUTSIDE = 0.1  # a joint farther outside the crop than this share of its side is odd
FULL_SIZE = {"train": 30_462, "val": 10_000}  # LIP's rows


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """What became of LIP's persons, in the order of train's and val's rows.

    table: a row per person. split, name; made; problem, why it couldn't be made, or ""; odd, what to look at, or ""; left,
    top, width, height of the crop in pixels of the COCO picture; joints, labelled in both; distance, their median in
    pixels; relative, that by the root of the crop's area; outside, LIP's joints beyond the crop.
    paths: the N pictures, made or not.
    lip_keypoints (N, 16, 3) and coco_keypoints (N, 17, 3): x, y in pixels of the crop, label.
    """

    table: pd.DataFrame
    paths: list[Path]
    lip_keypoints: np.ndarray
    coco_keypoints: np.ndarray

    def summary(self) -> list[str]:
        """What to tell: persons of each split, those that couldn't be made and why, the odd ones, the distance."""
        lines = []
        for split, rows in self.table.groupby("split", sort=False):
            full = "" if len(rows) == FULL_SIZE[split] else f" (LIP in full has {FULL_SIZE[split]:,})"
            lines.append(f"{split}: {rows['made'].sum():,} of {len(rows):,} persons are there{full}")
            told = self.told()
            told = told[told["split"] == split]
            lines += [f"  {what}: {count:,}" for what, count in zip(told["what"], told["persons"], strict=True)]
        compared = self.table[self.table["joints"] > 0]
        if len(compared):
            lines.append(
                f"LIP's joints lie {compared['distance'].median():.1f} px from COCO's (median, {len(compared):,} persons), "
                f"{100 * compared['relative'].median():.1f} % of the root of the crop's area"
            )
        return lines

    def told(self) -> pd.DataFrame:
        """Persons that couldn't be made, and odd ones, by kind: split, what, persons, first (the first one's picture)."""
        kind = "could not be made, " + self.table["problem"].str.split(": ").str[0]
        what = kind.where(~self.table["made"], "odd, " + self.table["odd"])
        rows = self.table.assign(what=what)[~self.table["made"] | (self.table["odd"] != "")]
        groups = rows.groupby(["split", "what"], sort=False)["name"]
        return groups.agg(persons="size", first="first").reset_index()

    def by_size(self) -> pd.DataFrame:
        """Distance of LIP's joints from COCO's by the crop's longer side in pixels; persons with a joint in both labels."""
        rows = self.table[self.table["joints"] > 0]
        side = rows[["width", "height"]].max(axis=1).astype(float)
        bins = pd.cut(side, [0, 100, 200, 300, 400, 500, np.inf]).rename("longer side (px)")
        return rows.groupby(bins, observed=True).agg(
            persons=("name", "size"),
            distance=("distance", "median"),
            nine_of_ten_within=("distance", lambda distance: distance.quantile(0.9)),
            relative=("relative", "median"),
        )

    def strangest(self, count: int) -> list[int]:
        """Rows to look at: made persons, odd ones first, then those whose joints are farthest from COCO's."""
        rows = self.table[self.table["made"] & (self.table["joints"] > 0)]
        order = rows.assign(is_odd=rows["odd"] != "").sort_values(["is_odd", "relative"], ascending=False)
        return order.index[:count].tolist()


def compare(lists: list[LipList], ids: list[tuple[int, int]], people: list[CocoPerson | None], lip_folder: Path) -> Rebuilt:
    """The table as far as labels tell; made is True for who can be cut if the picture is there."""
    named = [(part.split, name) for part in lists for name in part.names]
    given = [np.zeros((len(p.names), LIP.num_joints, 3), np.float32) if p.keypoints is None else p.keypoints for p in lists]
    lip_keypoints = np.concatenate(given)
    coco_keypoints = np.zeros((len(named), COCO.num_joints, 3), np.float32)
    rows = []
    for i, ((split, name), own_ids, person) in enumerate(zip(named, ids, people, strict=True)):
        row = {"split": split, "name": name, "made": False, "problem": "", "odd": ""}
        try:
            left, top, right, bottom = lip_origin.origin_crop(own_ids, person)
        except DataError as error:
            rows.append(row | {"problem": str(error)})
            continue
        coco_keypoints[i] = np.where(person.keypoints[:, 2:] > 0, person.keypoints - [left, top, 0], 0)
        place = {"left": left, "top": top, "width": right - left, "height": bottom - top}
        likeness = _likeness(lip_keypoints[i], coco_keypoints[i], (right - left, bottom - top))
        rows.append(row | place | likeness | {"made": True})
    columns = ["left", "top", "width", "height", "joints", "distance", "relative", "outside"]
    table = pd.DataFrame(rows, columns=["split", "name", "made", "problem", "odd", *columns])
    whole = ["left", "top", "width", "height", "joints", "outside"]
    table[whole] = table[whole].astype("Int64")
    paths = [picture_folder(lip_folder, split) / name for split, name in named]
    return Rebuilt(table, paths, lip_keypoints, coco_keypoints)


def _likeness(lip_points: np.ndarray, coco_points: np.ndarray, size: tuple[int, int]) -> dict:
    joints, distance, mirrored = lip_origin.distances(lip_points, coco_points)
    relative = distance / np.sqrt(size[0] * size[1])
    odd = ""
    if lip_origin.joints_outside(lip_points, size, ODD_OUTSIDE):
        odd = "joints far outside the crop"
    elif relative > ODD_DISTANCE:
        odd = "right and left changed places" if mirrored < distance / 2 else "far from COCO's joints"
    outside = lip_origin.joints_outside(lip_points, size)
    return {"joints": joints, "distance": distance, "relative": relative, "outside": outside, "odd": odd}


def check_convention(part: LipList, table: pd.DataFrame) -> None:
    """DataError for a csv whose joints as a whole don't lie on COCO's: other coordinates, joint order or rows."""
    rows = table[(table["split"] == part.split) & (table["joints"] > 0)]
    if len(rows) >= FEWEST_TO_JUDGE and rows["relative"].median() > WRONG_FILE_DISTANCE:
        raise DataError(
            f"{part.path}: joints lie {rows['distance'].median():.0f} px (median) from COCO's of the same person, LIP's "
            "own about 8: other coordinates, another order of joints or names of other persons; use LIP's own file"
        )


def picture_folder(lip_folder: Path, split: str) -> Path:
    """Where LIP has the pictures of "train" or "val"."""
    return lip_folder / "TrainVal_images" / f"{split}_images"
