"""The joints that a COCO label file lists, as a Skeleton.

A category may have "sigmas", K OKS constants, and "flip_pairs", pairs of names or 0-based indices, beside COCO's own
"keypoints" (names) and "skeleton" (limbs, pairs of joint numbers from 1).
"""

from pathlib import Path

from gccpm_lib.datasets.coco_labels import person_category, read_json, records
from gccpm_lib.datasets.records import DataError
from gccpm_lib.skeletons import COCO, Skeleton, flip_pairs_of, sigmas_of


def read_skeleton(path: str | Path) -> Skeleton | None:
    """The joints that a label file lists, with its limbs, flip pairs and OKS sigmas; None for one that lists no joints.

    Flip pairs and sigmas that the file doesn't give come from the names. COCO's 17 joints give skeletons.COCO itself.
    Raises DataError naming file, category and joints.
    """
    path, content = Path(path), read_json(path)
    records(path, content, "annotations")
    category = person_category(path, content)
    if not (category and category.get("keypoints")):
        return None
    joints = tuple(category["keypoints"])
    try:
        skeleton = Skeleton(
            name=str(category.get("name") or path.stem),
            joints=joints,
            limbs=_pairs("skeleton", category.get("skeleton") or [], range(1, len(joints) + 1)),
            flip_pairs=_flip_pairs(category, joints),
            sigmas=_sigmas(category, joints),
        )
    except ValueError as error:
        raise DataError(f"{path}, category {category['id']}: {error}") from error
    same = (joints, skeleton.flip_pairs, skeleton.sigmas) == (COCO.joints, COCO.flip_pairs, COCO.sigmas)
    return COCO if same else skeleton


def _pairs(key: str, pairs, numbers: range) -> tuple[tuple[int, int], ...]:
    """Pairs of joint numbers, counted as in the file -> pairs of indices."""
    good = isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
    if not good or not all(type(j) is int and j in numbers for pair in pairs for j in pair):
        raise ValueError(f"{key} must be pairs of joint numbers from {numbers[0]} to {numbers[-1]}; correct them")
    return tuple((a - numbers[0], b - numbers[0]) for a, b in pairs)


def _flip_pairs(category: dict, joints: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    given = category.get("flip_pairs")
    if given is None:
        return flip_pairs_of(joints)
    places = {name: index for index, name in enumerate(joints)}
    if isinstance(given, list) and all(isinstance(pair, list) for pair in given):
        given = [[places.get(j, j) if isinstance(j, str) else j for j in pair] for pair in given]
    pairs = _pairs("flip_pairs", given, range(len(joints)))
    flat = [j for pair in pairs for j in pair]
    if len(set(flat)) < len(flat):
        raise ValueError("a joint comes twice in flip_pairs; name each at most once")
    return tuple(sorted((min(pair), max(pair)) for pair in pairs))


def _sigmas(category: dict, joints: tuple[str, ...]) -> tuple[float, ...]:
    given = category.get("sigmas") or category.get("keypoint_sigmas")
    if not given:
        return sigmas_of(joints)
    if not isinstance(given, list) or not all(type(value) in (int, float) and 0 < value < 1e9 for value in given):
        raise ValueError("sigmas must be numbers above 0; correct them")
    if len(given) != len(joints):
        raise ValueError(f"{len(given)} sigmas for {len(joints)} keypoints; give one each")
    return tuple(map(float, given))
