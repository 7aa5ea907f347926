"""Small things that several test files share: a LIP folder of noise pictures, networks, persons."""

import copy
import functools
import json
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from gccpm_lib.checkpoints import read_checkpoint
from gccpm_lib.datasets.records import Person
from gccpm_lib.network import GCCPM
from gccpm_lib.skeletons import COCO, LIP, SHARED_LIMBS
from gccpm_lib.training.run import Run

torch.set_num_threads(1)  # networks this small are no faster with more, and much slower beside another program
cv2.setNumThreads(1)

VISIBLE_FLAG, OCCLUDED_FLAG = 0, 1  # as LIP's csv files write them


def csv_row(name: str, keypoints) -> str:
    """One LIP annotation row from (16, 3) x, y, label (0 missing, 1 occluded, 2 visible)."""
    cells = [name]
    for x, y, label in keypoints:
        flag = OCCLUDED_FLAG if label == 1 else VISIBLE_FLAG
        cells += [str(int(x)), str(int(y)), str(flag)] if label > 0 else ["nan", "nan", "nan"]
    return ",".join(cells) + "\n"


def random_keypoints(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(16, 3) whole pixels inside a picture (height, width); head and neck labelled, one other joint missing."""
    height, width = size
    points = np.column_stack([rng.integers(0, width, 16), rng.integers(0, height, 16), rng.integers(1, 3, 16)])
    points[rng.integers(8), 2] = 0
    points[8, :2], points[9, :2] = (width // 2, height // 2), (width // 2, height // 4)
    points[points[:, 2] == 0] = 0
    return points.astype(np.float32)


def write_lip(folder: Path, counts=(("train", 6), ("val", 3)), seed=0) -> dict[str, dict[str, np.ndarray]]:
    """Write a LIP folder of noise pictures; returns split -> name -> keypoints (16, 3) as they must be read."""
    rng, written = np.random.default_rng(seed), {}
    for split, count in counts:
        images = folder / "TrainVal_images" / f"{split}_images"
        images.mkdir(parents=True)
        written[split], rows = {}, []
        for number in range(count):
            size, name = (int(rng.integers(48, 90)), int(rng.integers(40, 80))), f"{100 + number}_{number}.jpg"
            coarse = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
            assert cv2.imwrite(str(images / name), cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))
            written[split][name] = random_keypoints(rng, size)
            rows.append(csv_row(name, written[split][name]))
        annotations = folder / "TrainVal_pose_annotations"
        annotations.mkdir(exist_ok=True)
        (annotations / f"lip_{split}_set.csv").write_text("".join(rows))
    return written


@pytest.fixture
def tiny_lip(tmp_path) -> Path:
    """A LIP folder of 6 train and 3 val pictures."""
    write_lip(tmp_path / "lip")
    return tmp_path / "lip"


def lively_network(num_refinement_stages=0, seed=0, **shape) -> GCCPM:
    """A network whose random maps differ clearly from place to place and whose batch normalisation isn't neutral."""
    return copy.deepcopy(_lively_network(num_refinement_stages, seed, **shape))


@functools.lru_cache(maxsize=8)
def _lively_network(num_refinement_stages, seed, **shape) -> GCCPM:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = GCCPM(num_refinement_stages=num_refinement_stages, **shape)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.02, generator=generator)
            module.running_var.uniform_(0.05, 0.3, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
    return network.eval()


def noise_picture(height: int, width: int, seed=0) -> np.ndarray:
    """(height, width, 3) uint8 of smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def person(keypoints, box=None, path="a.jpg") -> Person:
    return Person(Path(path), np.asarray(keypoints, np.float32), box)


def write_coco(folder: Path, joints=COCO.joints, counts=(("train", 4), ("val", 2)), seed=0, skeleton=()) -> None:
    """Write a COCO folder of noise pictures with two persons each; image ids from 1 (train) and 101 (val)."""
    rng, K = np.random.default_rng(seed), len(joints)
    (folder / "annotations").mkdir(parents=True)
    category = {"id": 1, "name": "person", "keypoints": list(joints), "skeleton": [list(pair) for pair in skeleton]}
    for split, count in counts:
        (folder / f"{split}2017").mkdir()
        images, annotations = [], []
        for image_id in range(1, count + 1) if split == "train" else range(101, 101 + count):
            name = f"{image_id:012d}.jpg"
            assert cv2.imwrite(str(folder / f"{split}2017" / name), noise_picture(90, 120, image_id))
            images.append({"id": image_id, "file_name": name, "height": 90, "width": 120})
            for left in (5, 62):
                xy = rng.uniform((left, 5), (left + 50, 85), (K, 2)).round()
                points = np.column_stack([xy, rng.integers(1, 3, K)])
                points[rng.integers(1, K)] = 0
                annotations.append(
                    {
                        "id": 10 * image_id + left // 60,
                        "image_id": image_id,
                        "category_id": 1,
                        "iscrowd": 0,
                        "bbox": [left, 5, 50, 80],
                        "area": 2000.0,
                        "keypoints": points.astype(int).ravel().tolist(),
                        "num_keypoints": K - 1,
                    }
                )
        content = {"images": images, "annotations": annotations, "categories": [category]}
        (folder / "annotations" / f"person_keypoints_{split}2017.json").write_text(json.dumps(content))


def lip_rows(labels: Path) -> dict[str, np.ndarray]:
    """Picture name -> LIP keypoints (16, 3) of each person in a file of `write_coco`, exactly on COCO's; others missing."""
    joints = [(LIP.find(side, limb), COCO.find(side, limb)) for limb in SHARED_LIMBS for side in ("right", "left")]
    rows = {}
    for annotation in json.loads(labels.read_text())["annotations"]:
        theirs, ours = np.array(annotation["keypoints"]).reshape(-1, 3), np.zeros((16, 3))
        left, top = (start - 1 for start in annotation["bbox"][:2])  # whole numbers, which need no rounding
        for in_lip, in_coco in joints:
            ours[in_lip] = theirs[in_coco] - [left, top, 0]
        rows[f"{annotation['image_id']}_{annotation['id']}.jpg"] = ours
    return rows


def quiet(_: str) -> None:
    pass


def small_run(folder, output_folder) -> Run:
    """Two epochs of five batches of 64 pixels, no refinement stage."""
    return Run(
        dataset_folder=str(folder),
        output_folder=str(output_folder),
        num_refinement_stages=0,
        input_size=(64, 64),
        batch_size=2,
        num_epochs=2,
        log_after=1,
        checkpoint_after=2,
    )


def tensors_of(run: Run) -> dict[str, torch.Tensor]:
    """Every tensor that training changes: weights, their average, the optimiser's moments."""
    saved = read_checkpoint(run.checkpoint_file)
    tensors = {f"trained.{k}": v for k, v in saved["trained"].items()}
    tensors |= {f"average.{k}": v for k, v in (saved["average"] or {}).items()}
    tensors |= {f"kept.{k}": v for k, v in saved["network"].items()}
    for number, moments in saved["optimizer"]["state"].items():
        tensors |= {f"optimizer.{number}.{k}": v for k, v in moments.items()}
    return tensors


def untimed(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in ("train_s", "images_per_s")} for row in history]


def assert_same_end(a: Run, b: Run) -> None:
    first, second = tensors_of(a), tensors_of(b)
    assert first.keys() == second.keys()
    differing = [key for key in first if not torch.equal(first[key], second[key])]
    assert not differing, f"{len(differing)} of {len(first)} tensors differ: {differing[:3]}"
    one, other = (untimed(read_checkpoint(r.checkpoint_file)["history"]) for r in (a, b))
    assert json.dumps(one) == json.dumps(other)


def frames_in(path) -> tuple[list[np.ndarray], float]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mov": "mp4v", ".mkv": "mp4v", ".webm": "VP80"}


def write_video(path, count=6, rate=12.5, size=(48, 64)):
    """Frame i has the brightness 10 i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODECS[path.suffix]), rate, size[::-1])
    assert writer.isOpened()
    for number in range(count):
        writer.write(np.full((*size, 3), 10 * number, np.uint8))
    writer.release()
    return path


def cut(path, share: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


FIRST = """experiment_name = "interactive"  # folder under runs/
base_lr = 1e-3  # learning rate (lr = base_lr)
epochs = 3
flip = False
sizes = (256, 192)
"""


SECOND = 'experiment_name = "interactive"\nfail = False\n'


COUNT = """from gccpm_lib.report import notebook
folder = notebook.run_folder(experiment_name)
counter = notebook.resolve("count_{name}.txt")
counter.write_text(counter.read_text() + "x" if counter.exists() else "x")
"""
RECORD = 'notebook.record_metrics(folder, "{name}", headline={{"PCKh": 61.5}}, metrics={{"seen": 1}})'


def write_notebook(root: Path, name: str, parameters: str, *sources: str) -> None:
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    code = [new_code_cell(source.format(name=name)) for source in (COUNT, *sources, RECORD)]
    cells = [new_markdown_cell(f"# About {name}\n\nWhat does {name} say?"), tagged, *code]
    nbformat.write(new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Three notebooks: 02 needs 01, and 03 stands alone."""
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "gccpm_lib").mkdir()
    (tmp_path / "notebooks" / "profiles" / "tiny.yaml").write_text(
        "title: Tiny\nnotebooks:\n  01_prep: {epochs: 2}\n  02_train:\n  03_other:\nneeds:\n  02_train: [01_prep]\n"
    )
    write_notebook(tmp_path, "01_prep", FIRST, "if epochs == 13:\n    raise RuntimeError('bad <luck>')")
    write_notebook(tmp_path, "02_train", SECOND)
    write_notebook(tmp_path, "03_other", SECOND)
    monkeypatch.chdir(tmp_path)
    return tmp_path
