"""on_bad_sample: by default a bad row or picture ends with its name; "skip" leaves it out everywhere and lists it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import assert_same_end, quiet, small_run, write_coco, write_lip

from gccpm_lib.checkpoints import read_checkpoint
from gccpm_lib.datasets import coco, lip
from gccpm_lib.datasets.records import BadSamples, DataError
from gccpm_lib.evaluation.validation import read_validation
from gccpm_lib.loading import Batch, no_samples
from gccpm_lib.recipes import COCO_MODERN, LIP_MODERN
from gccpm_lib.training import run as runs
from gccpm_lib.training.loop import optimiser_step, train
from gccpm_lib.training.start import start


@pytest.fixture
def damaged(tmp_path):
    """10 train and 4 val pictures; rows 1 and 2 and the third picture of train are bad, and the first picture of val."""
    write_lip(tmp_path / "lip", (("train", 10), ("val", 4)))
    labels = next((tmp_path / "lip").rglob("lip_train_set.csv"))
    rows = labels.read_text().splitlines(keepends=True)
    rows[0], rows[1] = rows[0].replace(",", ",x", 1), "short.jpg,1,2\n"
    labels.write_text("".join(rows))
    for split, number in (("train", 2), ("val", 0)):
        picture = sorted((tmp_path / "lip/TrainVal_images" / f"{split}_images").glob(f"{100 + number}_*"))[0]
        picture.write_bytes(picture.read_bytes()[:60])
    return tmp_path / "lip"


@pytest.fixture
def run(damaged, tmp_path):
    return replace(small_run(damaged, tmp_path / "run"), on_bad_sample="skip")


def test_by_default_the_first_bad_one_ends_it_by_name(run, damaged):
    with pytest.raises(DataError, match=r"lip_train_set\.csv, row 1, column 2"):
        train(replace(run, on_bad_sample="error"), quiet)
    with pytest.raises(ValueError, match="on_bad_sample 'sometimes'"):
        train(replace(run, on_bad_sample="sometimes"), quiet)


def test_skips_are_left_out_and_each_is_listed_once(run):
    history = train(run, quiet)
    assert len(history) == 2 and np.isfinite(history[-1]["losses"]).all()
    table = runs.skipped_table(run).set_index("sample")["reason"]
    assert sorted(table.index) == ["100_0.jpg", "102_2.jpg", "lip_train_set.csv, row 1", "lip_train_set.csv, row 2"]
    assert "column 2" in table["lip_train_set.csv, row 1"] and "3 columns" in table["lip_train_set.csv, row 2"]
    assert "picture truncated" in table["102_2.jpg"] and "val_images" in table["100_0.jpg"]
    assert read_checkpoint(run.checkpoint_file)["skipped"] == table.to_dict()


def test_the_rest_trains_as_if_the_bad_rows_had_never_been(run, damaged, tmp_path):
    """Rows alone: a bad picture keeps its place in the data order."""
    picture = damaged / "TrainVal_images/train_images/102_2.jpg"
    picture.write_bytes((damaged / "TrainVal_images/train_images/103_3.jpg").read_bytes())
    train(run, quiet)
    labels = next(damaged.rglob("lip_train_set.csv"))
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[2:]))
    clean = replace(run, output_folder=str(tmp_path / "clean"))
    train(clean, quiet)
    assert_same_end(run, clean)
    assert set(runs.skipped_table(clean)["sample"]) == {"100_0.jpg"}


def test_a_batch_of_bad_samples_alone_is_no_step(run, damaged):
    for picture in (damaged / "TrainVal_images/train_images").iterdir():
        if not picture.name.startswith("109"):
            picture.write_bytes(b"")
    history = train(replace(run, ema_decay=0.0), quiet)
    steps = {int(m["step"]) for m in read_checkpoint(run.checkpoint_file)["optimizer"]["state"].values()}
    assert steps == {2} and len(history) == 2  # one good sample an epoch


def test_nothing_readable_at_all_is_an_error(run, damaged):
    for picture in (damaged / "TrainVal_images/train_images").iterdir():
        picture.write_bytes(b"")
    with pytest.raises(DataError, match=r"no sample of epoch 1 could be read; see skipped\.json"):
        train(run, quiet)


@pytest.mark.slow
def test_workers_change_nothing(run, tmp_path):
    train(run, quiet)
    other = replace(run, output_folder=str(tmp_path / "other"), num_workers=2)
    train(other, quiet)
    assert_same_end(run, other)
    assert runs.skipped_table(run).equals(runs.skipped_table(other))


def test_scores_are_of_the_readable_persons(damaged):
    recipe, bad = replace(LIP_MODERN, input_size=(64, 64)), BadSamples("skip")
    validation = read_validation(damaged, recipe, bad=bad)
    assert len(validation.subjects) == 3 and [skip.name for skip in bad.skipped] == ["100_0.jpg"]
    truth = np.stack([person.keypoints for person in validation.subjects]).astype(float)
    assert validation.scores(truth)["Avg."] == 100


def test_every_kind_of_bad_row_is_skipped(tmp_path):
    write_lip(tmp_path, (("train", 6),))
    labels = next(tmp_path.rglob("lip_train_set.csv"))
    rows = labels.read_text().splitlines()
    name, rest = rows[1].split(",", 1)
    rows[1] = f"../{name},{rest}"
    rows[2] = rows[2].rsplit(",", 1)[0] + ",inf"
    rows[3] = rows[4]
    rows[5] = rows[5] + ",1"
    labels.write_text("\n".join(rows) + "\n")
    bad = BadSamples("skip")
    persons = lip.read_lip(tmp_path, "train", bad)
    assert [person.name for person in persons] == ["100_0.jpg", "104_4.jpg"]
    assert [skip.name for skip in bad.skipped] == [f"lip_train_set.csv, row {row}" for row in (2, 3, 5, 6)]
    labels.write_text("a.jpg,1\nb.jpg,2\n")
    with pytest.raises(DataError, match=r"every row is bad, the first: .*row 1"):
        lip.read_lip(tmp_path, "train", BadSamples("skip"))


def test_every_kind_of_bad_coco_row_is_skipped(tmp_path):
    """Images and annotations that are no records, have no id or one twice, no name, a wrong one, no picture."""
    write_coco(tmp_path)
    file = tmp_path / "annotations/person_keypoints_val2017.json"
    content = json.loads(file.read_text())
    good = [a["id"] for a in content["annotations"]]
    image, person = content["images"][0], content["annotations"][0]
    images = [7, {**image, "id": "x"}, {**image, "file_name": "twice.jpg"}]
    for number, name in enumerate((None, "../a.jpg", "b\\a.jpg", "none.jpg"), 900):
        images.append({**image, "id": number, "file_name": name})
    content["images"] += images
    kinds = [{"image_id": number} for number in (900, 901, 902, 903, 999, "x", None)]
    kinds += [{"bbox": None}, {"bbox": [900, 0, 5, 5]}, {"area": -1}, {"keypoints": 5}, {"keypoints": [1, 2]}]
    kinds += [{"category_id": 8}, {"id": None}, {"id": person["id"]}]
    bad = [{**person, "id": number, **kind} for number, kind in enumerate(kinds, 5000)]
    content["annotations"] = [None, 5, *bad[:-1], *content["annotations"], bad[-1]]
    file.write_text(json.dumps(content))
    bad = BadSamples("skip")
    assert [p.annotation_id for p in coco.read_coco(tmp_path, "val", bad=bad)] == good
    assert len({skip.name for skip in bad.skipped}) >= len(kinds) + 2
    validation = read_validation(tmp_path, replace(COCO_MODERN, input_size=(64, 64)), bad=BadSamples("skip"))
    assert [person.annotation_id for person in validation.subjects] == good
    assert {a["id"] for a in validation.truth["annotations"]} == set(good)
    with pytest.raises(DataError):
        coco.read_coco(tmp_path, "val")


def test_bad_converted_rows_are_skipped(tmp_path):
    write_coco(tmp_path)
    persons = coco.read_coco(tmp_path, "train")
    file = coco.write_converted(tmp_path / "annotations/converted.json", persons, tmp_path)
    content = json.loads(file.read_text())
    row = content["annotations"][0]
    changes = (
        {"image_path": None},
        {"image_path": "/etc/a.jpg"},
        {"image_path": "none.jpg"},
        {"keypoints": [1]},
        {"bbox": 3},
    )
    content["annotations"] = [3, *({**row, **change} for change in changes), *content["annotations"]]
    file.write_text(json.dumps(content))
    bad = BadSamples("skip")
    assert len(coco.read_coco(tmp_path, "train", "converted.json", bad=bad)) == len(persons)
    assert len(bad.skipped) == 6


def test_bad_coco_annotations_leave_the_truth_too(tmp_path):
    write_coco(tmp_path)
    file = tmp_path / "annotations/person_keypoints_val2017.json"
    content = json.loads(file.read_text())
    before = len(coco.read_coco(tmp_path, "val"))
    first, second = content["annotations"][:2]
    first["keypoints"] = first["keypoints"][:-1]
    second["image_id"] = 10**6
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="annotation"):
        coco.read_coco(tmp_path, "val")
    bad, recipe = BadSamples("skip"), replace(COCO_MODERN, input_size=(64, 64))
    validation = read_validation(tmp_path, recipe, bad=bad)
    assert len(validation.subjects) == before - 2
    assert {first["id"], second["id"]}.isdisjoint(a["id"] for a in validation.truth["annotations"])
    assert {str(first["id"]), str(second["id"])} <= {skip.name.rsplit(" ", 1)[1] for skip in bad.skipped}
    points = np.stack([person.keypoints for person in validation.subjects]).astype(float)
    points[:, :, 2] = 1
    assert validation.scores(points)["AP"] == pytest.approx(100)


def test_a_bad_coco_picture_takes_its_persons_along(tmp_path):
    write_coco(tmp_path)
    whole = coco.read_coco(tmp_path, "val")
    picture = whole[0].image_path
    picture.write_bytes(b"no picture")
    bad = BadSamples("skip")
    validation = read_validation(tmp_path, replace(COCO_MODERN, input_size=(64, 64)), bad=bad)
    assert [skip.name for skip in bad.skipped] == [picture.name]
    assert len(validation.subjects) == sum(person.image_path != picture for person in whole)
    assert whole[0].image_id not in {image["id"] for image in validation.truth["images"]}


def test_a_batch_of_which_nothing_can_be_read_changes_nothing(run):
    """Neither the gradient nor a running statistic, which would come from a picture that isn't there."""
    recipe = replace(LIP_MODERN, input_size=(64, 64), num_refinement_stages=0, precision="float32")
    empty = Batch(no_samples(recipe), [])
    assert empty.count == 0 and [len(tensor) for tensor in empty.tensors] == [0, 0, 0, 0]
    images = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    real = Batch([images, torch.ones(2, 17, 8, 8), torch.ones(2, 17), torch.arange(3).repeat(2, 1)], [])
    ends = []
    for batches in ([real], [real, empty], [empty, real]):
        state = start(replace(run, num_refinement_stages=0), recipe)
        losses, total = optimiser_step(state, batches, recipe, "cpu", 1.0)
        ends.append((losses, total, state.network.state_dict()))
    for losses, total, weights in ends[1:]:
        assert total == 2 and torch.equal(losses, ends[0][0])
        assert all(torch.equal(value, ends[0][2][name]) for name, value in weights.items())
    before = {name: value.clone() for name, value in weights.items()}
    losses, total = optimiser_step(state, [empty], recipe, "cpu", 1.0)
    assert total == 0 and not losses.any() and all(torch.equal(before[name], v) for name, v in weights.items())
