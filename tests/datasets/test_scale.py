"""Scale: from a few hundred persons to COCO's 150,000, memory grows by the person's record alone and time in proportion.

python tests/test_scale.py  # the measured table: seconds and megabytes of every case, from 1,000 to 150,000 persons

The quick tests take small numbers and exact counts of the allocated bytes; the slow ones measure a process of its own.
"""

import functools
import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from gccpm_lib.datasets import coco, coco_labels, lip
from gccpm_lib.datasets.records import Person
from gccpm_lib.evaluation import bootstrap, joint_errors, pckh
from gccpm_lib.evaluation.average_precision import intervals
from gccpm_lib.evaluation.validation import CocoValidation, LipValidation
from gccpm_lib.loading import TrainingSet, epoch_batches, give_batches, make_loader
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.recipes import LIP_CORRECTED, LIP_MODERN
from gccpm_lib.show import inspector, inspector_data
from gccpm_lib.skeletons import COCO, LIP

PERSONS_PER_PICTURE = 1.27  # as in COCO
SMALL = replace(LIP_MODERN, input_size=(32, 32), batch_size=32)


# ------------------------------------------------------------------------------------------------ made-up people


def keypoints(count: int, joints: int, seed: int = 0) -> np.ndarray:
    """(count, joints, 3) whole pixels; the first joint and 8 and 9 (LIP's head) are labelled, a fifth of the rest isn't."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.integers(1, 350, (count, joints, 2)), rng.integers(1, 3, (count, joints, 1))], axis=2)
    missing = rng.random((count, joints)) < 0.2
    missing[:, [0, 8, 9]] = False
    points[missing] = 0
    return points.astype(np.float32)


def write_lip_labels(folder: Path, count: int) -> Path:
    """Labels, and empty files in place of the pictures."""
    (folder / "train_images").mkdir(parents=True)
    with open(folder / "lip_train_set.csv", "w") as file:
        for number, points in enumerate(keypoints(count, 16).astype(int).tolist()):
            cells = (f"{x},{y},{label % 2}" if label else "nan,nan,nan" for x, y, label in points)
            file.write(f"{number}_{number}.jpg,{','.join(cells)}\n")
            (folder / "train_images" / f"{number}_{number}.jpg").touch()
    return folder


def write_coco_labels(folder: Path, count: int) -> Path:
    """Labels with outlines, and empty files in place of the pictures."""
    num_images = max(1, int(count / PERSONS_PER_PICTURE))
    (folder / "train2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in range(1, num_images + 1)]
    for image in images:
        (folder / "train2017" / image["file_name"]).touch()
    outline = [round(0.37 * i, 2) for i in range(60)]
    annotations = [
        {
            "id": row + 1, "image_id": row % num_images + 1, "category_id": 1, "iscrowd": 0, "segmentation": [outline],
            "bbox": [10.5, 20.25, 300.0, 400.0], "area": 60000.5, "keypoints": points,
        }
        for row, points in enumerate(keypoints(count, 17).astype(int).reshape(count, -1).tolist())
    ]  # fmt: skip
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(content))
    return folder


def lip_validation(count: int) -> tuple[LipValidation, np.ndarray]:
    points = keypoints(count, 16)
    persons = [Person(Path(f"{i}.jpg"), p) for i, p in enumerate(points)]
    return LipValidation(LIP, persons), points + np.random.default_rng(1).normal(0, 20, points.shape)


def coco_validation(count: int) -> tuple[CocoValidation, np.ndarray]:
    num_images, points = max(1, int(count / PERSONS_PER_PICTURE)), keypoints(count, 17)
    persons = [
        Person(Path(f"{i % num_images}.jpg"), p, (10.0, 20.0, 300.0, 300.0), i % num_images, i + 1, 45000.0)
        for i, p in enumerate(points)
    ]
    annotations = [
        {
            "id": person.annotation_id, "image_id": person.image_id, "category_id": 1, "iscrowd": 0, "area": person.area,
            "bbox": list(person.box), "keypoints": person.keypoints.ravel().tolist(), "num_keypoints": 17,
        }
        for person in persons
    ]  # fmt: skip
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO.joints)}]
    truth = {"images": [{"id": i} for i in range(num_images)], "annotations": annotations, "categories": categories}
    found = points + np.random.default_rng(1).normal(0, 8, points.shape)
    return CocoValidation(COCO, persons, persons, truth), found


class Corner(nn.Module):
    """A network that costs nothing."""

    def forward(self, x):
        return [x.new_zeros(len(x), 17, 4, 4)]


# ------------------------------------------------------------------------------------------------ what is measured


def case_read_lip(folder, count):
    write_lip_labels(folder, count)
    return lambda: lip.read_lip(folder, "train")


def case_read_coco(folder, count):
    write_coco_labels(folder, count)
    return lambda: coco.read_coco(folder, "train")


def case_read_truth(folder, count):
    write_coco_labels(folder, count)
    return lambda: coco.read_truth(folder, "train")


def case_epoch_batches(folder, count):
    return lambda: epoch_batches(count, 3, LIP_CORRECTED, 0)


def case_load(folder, count):
    """A pass over all samples, from 16 pictures on disk."""
    persons = write_pictures(folder, count)
    batches = epoch_batches(count, 0, SMALL, 0)
    return lambda: sum(len(crops) for crops, *_ in make_loader(TrainingSet(persons, SMALL, 0), batches, 0))


def case_predict(folder, count):
    persons = write_pictures(folder, count)
    return lambda: PosePredictor(Corner(), SMALL).predict_persons(persons)


def case_pckh(folder, count):
    validation, found = lip_validation(count)
    return lambda: (validation.scores(found), validation.curves(found))


def case_pckh_bootstrap(folder, count):
    distances = pckh.normalised_distances(keypoints(count, 16), keypoints(count, 16, seed=1))
    return lambda: (pckh.pckh_intervals(distances, 1.0), pckh.paired_interval(distances, distances[::-1]))


def case_ap(folder, count):
    validation, found = coco_validation(count)
    return lambda: validation.scores(found)


def case_ap_bootstrap(folder, count):
    validation, found = coco_validation(count)
    matches = validation.matches(found)
    return lambda: intervals(matches, repeats=100)


def case_kinds(folder, count):
    validation, found = coco_validation(count)
    return lambda: joint_errors.kinds(validation.persons, found, COCO)


def case_inspector(folder, count):
    """All that the live inspector and a report ask for, and half of the labels marked."""
    validation, found = lip_validation(count)
    persons = validation.persons

    def use():
        collection = inspector_data.collect(persons, LIP, {"a": found, "b": found + 1})
        file = inspector_data.write_marked(folder / "marked.csv", persons, range(0, count, 2))
        marked = inspector_data.read_marked(file, persons)
        return inspector.answer(collection, {"kind": "table"}), inspector_data.report_data(collection), marked

    return use


# Case, most kB per person while it runs. A picture of 90 x 70 pixels has 19 kB, a sample with its maps 4; the records that
# go in and come out, and what pandas, json and pycocotools need to make them, have less. LIP's bootstrap: 2 numbers of 16
# joints as float64, not a count for each of a thousand draws (8).
CASES = {
    case_read_lip: 3, case_read_coco: 5, case_read_truth: 5, case_epoch_batches: 0.3, case_load: 1, case_predict: 1.6,
    case_pckh: 2.5, case_pckh_bootstrap: 2, case_ap: 14, case_ap_bootstrap: 1.5, case_kinds: 3, case_inspector: 3,
}  # fmt: skip

SLOWER = (case_load, case_predict, case_ap, case_pckh_bootstrap)  # a millisecond per person or so: quick tests take fewer


def write_pictures(folder: Path, count: int) -> list[Person]:
    """Persons that share 16 pictures of 90 x 70 pixels."""
    picture = cv2.resize(np.random.default_rng(0).integers(0, 255, (7, 6, 3), dtype=np.uint8), (70, 90))
    paths = [folder / f"{number}.png" for number in range(16)]
    for path in paths:
        cv2.imwrite(str(path), picture)
    points = np.minimum(keypoints(count, 16), 60)
    return [Person(paths[row % 16], p) for row, p in enumerate(points)]


# ------------------------------------------------------------------------------------------------ quick


@pytest.fixture
def unwarmed(tmp_path, monkeypatch):
    """Run a case at a size after a first run that imports and caches whatever it does only once."""
    monkeypatch.setattr(bootstrap, "CHUNK", 5_000)  # so small that few persons already take several chunks

    def prepare(case, count) -> Callable:
        case(folder_in(tmp_path), 50)()
        return case(folder_in(tmp_path), count)

    return prepare


def folder_in(parent: Path) -> Path:
    folder = parent / f"{len(list(parent.iterdir()))}"
    folder.mkdir()
    return folder


def allocated(use: Callable) -> int:
    """Most bytes that were allocated at once while it ran, its result included."""
    gc.collect()
    tracemalloc.start()
    try:
        result = use()
        del result
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_memory_per_person_is_a_record_however_many_they_are(case, unwarmed):
    counts = (100, 400) if case in SLOWER else (400, 1600)
    for _ in range(3):  # other threads of the test run only ever add to it
        few, many = (allocated(unwarmed(case, count)) for count in counts)
        per_person = (many - few) / (counts[1] - counts[0])  # what doesn't grow with them falls out
        if per_person <= 1000 * CASES[case] and many <= 5 * few + 200_000:  # in proportion: 4 times; the square: 16
            return
    pytest.fail(f"{per_person:.0f} bytes per person; {few:,} bytes for {counts[0]}, {many:,} for {counts[1]}")


def fastest(use: Callable, repeats: int = 2) -> float:
    """Seconds of this process's own computing, the least of several runs: other programs only ever add to it."""
    times = []
    for _ in range(repeats):
        started = time.process_time()
        use()
        times.append(time.process_time() - started)
    return min(times)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_time_grows_in_proportion(case, unwarmed):
    few, many = (fastest(unwarmed(case, count)) for count in ((100, 800) if case in SLOWER else (1000, 8000)))
    assert many <= 18 * few + 0.02  # in proportion: 8 times; the square: 64 times


def open_files(pid: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells")
def test_no_file_stays_open(tmp_path):
    persons = write_pictures(tmp_path, 400)
    loader = make_loader(TrainingSet(persons, SMALL, 0), epoch_batches(400, 0, SMALL, 0), 0)
    before = open_files()
    assert max(open_files() for _ in loader) == before
    PosePredictor(Corner(), SMALL).predict_persons(persons)
    assert open_files() == before


@pytest.fixture
def label_file(tmp_path, monkeypatch):
    """A label file that counts as large, and a memory without any other."""
    monkeypatch.setattr(coco_labels, "LARGE", 1000)
    coco_labels._read_once.cache_clear()
    yield write_coco_labels(tmp_path / "one", 20) / "annotations" / "person_keypoints_train2017.json"
    coco_labels._read_once.cache_clear()


def test_a_large_label_file_is_parsed_once(label_file):
    folder = label_file.parents[1]
    assert coco.read_skeleton(label_file) is COCO
    first, second = coco.read_coco(folder, "train"), coco.read_coco(folder, "train")
    assert (coco_labels._read_once.cache_info().misses, coco_labels._read_once.cache_info().hits) == (1, 2)
    assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(first, second, strict=True))


def test_a_changed_label_file_is_read_again(label_file):
    assert len(coco.read_coco(label_file.parents[1], "train")) == 20
    content = json.loads(label_file.read_text())
    content["annotations"].pop()
    label_file.write_text(json.dumps(content))
    assert len(coco.read_coco(label_file.parents[1], "train")) == 19


def test_one_label_file_is_remembered_at_most(label_file, tmp_path):
    coco.read_coco(label_file.parents[1], "train")
    coco.read_coco(write_coco_labels(tmp_path / "other", 20), "train")
    assert coco_labels._read_once.cache_info().currsize == 1
    coco.read_coco(label_file.parents[1], "train")
    assert coco_labels._read_once.cache_info().misses == 3


# ------------------------------------------------------------------------------------------------ slow, and by hand


@pytest.mark.slow
def test_worker_processes_stay_and_open_few_files(tmp_path):
    persons, loader = write_pictures(tmp_path, 2000), None
    workers, most = [], 0
    loader = make_loader(TrainingSet(persons, SMALL, 0), [], 2)
    for epoch in range(3):
        for _ in give_batches(loader, epoch_batches(2000, epoch, SMALL, 0)):
            pids = [worker.pid for worker in loader._iterator._workers]
            most = max(most, open_files(), *map(open_files, pids))
        workers.append(pids)
    assert workers[0] == workers[1] == workers[2]
    assert most < open_files() + 40


def measured(case: str, count: int, folder: Path) -> dict:
    """A case in a process of its own: seconds, and megabytes that its memory rose by, and still holds with the result."""
    command = [sys.executable, __file__, case, str(count), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_hundred_and_fifty_thousand_persons(case, tmp_path):
    some, many = (measured(case.__name__, count, folder_in(tmp_path)) for count in (15_000, 150_000))
    assert many["seconds"] <= 25 * some["seconds"] + 1  # ten times the persons
    assert (many["peak_mb"] - some["peak_mb"]) / 135 <= CASES[case]  # kB per person


def memory(key: str) -> float:
    """Megabytes by /proc/self/status: VmRSS now, VmHWM at the most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def measure(case: str, count: int, folder: Path) -> dict:
    """A case in this process, after a small run of it."""
    torch.set_num_threads(1)
    prepare = functools.partial(next(c for c in CASES if c.__name__ == case))
    prepare(folder_in(folder), 50)()
    use = prepare(folder_in(folder), count)
    coco_labels._read_once.cache_clear()
    gc.collect()
    before, started = memory("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    result = use()
    seconds, peak = time.process_time() - started, memory("VmHWM")
    gc.collect()
    kept = memory("VmRSS") - before
    return {"seconds": seconds, "peak_mb": peak - before, "kept_mb": kept, "results": 0 if result is None else 1}


def main() -> None:
    """Print the table: a row per case, at every size seconds and megabytes at the most."""
    import tempfile

    counts = (1000, 10_000, 20_000, 40_000, 150_000)
    print("case".ljust(22), *(f"{count:>18,}" for count in counts))
    for case in CASES:
        cells = []
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                found = measured(case.__name__, count, Path(folder))
            cells.append(f"{found['seconds']:8.2f} s {found['peak_mb']:5.0f} MB")
        print(case.__name__.removeprefix("case_").ljust(22), *cells, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main()
