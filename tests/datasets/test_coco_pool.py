"""Pooled data sets: joints by name, boxes where there were none, every person as often as asked."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import write_coco, write_lip

from gccpm_lib.datasets.coco import read_coco, read_truth
from gccpm_lib.datasets.coco_pool import Source, pool_coco
from gccpm_lib.datasets.lip import read_lip
from gccpm_lib.datasets.records import DataError, read_person_image
from gccpm_lib.skeletons import COCO, LIP, split_side


@pytest.fixture
def folders(tmp_path):
    """A COCO folder with 4 pictures of 2 persons each, and a LIP folder with 6 persons."""
    write_coco(tmp_path / "coco")
    write_lip(tmp_path / "lip")
    return tmp_path


def test_persons_of_all_sources_are_read_as_often_as_asked(folders):
    sources = [Source(folders / "coco", repeat=3), Source(folders / "lip", layout="lip", num_persons=4)]
    root = pool_coco(folders / "pool", sources, val=folders / "coco")
    persons, own = read_coco(root, "train"), read_coco(folders / "coco", "train")
    assert len(persons) == 3 * len(own) + 4 and len({p.annotation_id for p in persons}) == len(persons)
    for there, here in zip(persons, own * 3, strict=False):
        np.testing.assert_allclose(there.keypoints, here.keypoints, atol=0.01)
        np.testing.assert_allclose(there.box, here.box, atol=0.01)
        assert there.name == here.name and there.image_path.samefile(here.image_path)
    assert len({p.image_id for p in persons}) == len({p.image_path for p in own}) + 4
    for person in persons:
        assert read_person_image(person).shape[1::-1] == person.picture_size
    assert read_truth(root, "val") == read_truth(folders / "coco", "val")


def test_lips_joints_stand_under_cocos_names_and_the_face_is_missing(folders):
    root = pool_coco(folders / "pool", [Source(folders / "lip", layout="lip")], val=folders / "coco")
    compared = 0
    for there, here in zip(read_coco(root, "train"), read_lip(folders / "lip", "train"), strict=True):
        for j, name in enumerate(COCO.joints):
            lip_joint = LIP.find(*split_side(name))
            expected = np.zeros(3) if lip_joint is None else here.keypoints[lip_joint]
            np.testing.assert_allclose(there.keypoints[j], expected, atol=0.01)
            compared += lip_joint is not None
        assert (there.keypoints[:5, 2] == 0).all()  # nose, eyes and ears
        points = here.keypoints[here.keypoints[:, 2] > 0, :2]
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        np.testing.assert_allclose(there.box, [*(low - 0.1 * size), *(1.2 * size)], atol=0.02)
        assert there.area == pytest.approx(there.box[2] * there.box[3] / 2, rel=1e-3)
    assert compared == 6 * 12


def test_pictures_are_left_out_by_name_and_an_unknown_one_is_an_error(folders):
    name = read_coco(folders / "coco", "train")[0].name
    source = Source(folders / "coco", leave_out=[name])
    root = pool_coco(folders / "pool", [source], val=folders / "coco")
    assert name not in {p.name for p in read_coco(root, "train")} and len(read_coco(root, "train")) == 6
    with pytest.raises(DataError, match=r"absent\.jpg.*correct leave_out"):
        pool_coco(folders / "other", [replace(source, leave_out=["absent.jpg"])], val=folders / "coco")
    assert not (folders / "other").exists()


def test_a_folder_that_exists_is_not_overwritten(folders):
    with pytest.raises(FileExistsError, match="exists already"):
        pool_coco(folders / "coco", [Source(folders / "lip", layout="lip")], val=folders / "coco")
    with pytest.raises(ValueError, match="layout 'mpii'"):
        pool_coco(folders / "pool", [Source(folders / "lip", layout="mpii")], val=folders / "coco")


def test_the_written_file_lists_cocos_joints(folders):
    root = pool_coco(folders / "pool", [Source(folders / "lip", layout="lip")], val=folders / "coco")
    content = json.loads((root / "annotations" / "person_keypoints_train2017.json").read_text())
    assert content["categories"][0]["keypoints"] == list(COCO.joints)
    assert all(image["file_name"].startswith("0/") for image in content["images"])
