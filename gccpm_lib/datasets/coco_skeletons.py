"""The joints that a COCO label file lists, as a Skeleton.

A category may have "sigmas", K OKS constants, and "flip_pairs", pairs of names or 0-based indices, beside COCO's own
"keypoints" (names) and "skeleton" (limbs, pairs of joint numbers from 1).
"""

import warnings
from pathlib import Path

from gccpm_lib.datasets.coco_labels import person_category, read_json, records
from gccpm_lib.datasets.records import DataError
from gccpm_lib.skeletons import COCO, Skeleton, flip_pairs_of, same_joints, sigmas_of


def read_skeleton(path: str | Path) -> Skeleton | None:
    """The joints that a label file lists, with its limbs, flip pairs and OKS sigmas; None for one that lists no joints.

    Flip pairs and sigmas that the file doesn't give come from the names. COCO's 17 joints, however their names are written,
    give skeletons.COCO itself. Raises DataError naming file, category and joints. Warns of limbs that can't be drawn, which
    are left out, and where no joint has a side, so that mirrored samples exchange nothing.
    """
    path, content = Path(path), read_json(path)
    records(path, content, "annotations")
    category = person_category(path, content)
    if not (category and category.get("keypoints")):
        return None
    joints, where = tuple(category["keypoints"]), f"{path}, category {category['id']}"
    try:
        flip_pairs, sigmas = _flip_pairs(category, joints), _sigmas(category, joints)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    limbs = _limbs(where, category.get("skeleton"), joints)
    if same_joints(joints, COCO.joints) and (flip_pairs, sigmas) == (COCO.flip_pairs, COCO.sigmas):
        return COCO
    skeleton = Skeleton(str(category.get("name") or path.stem), joints, limbs, flip_pairs, sigmas)
    if skeleton.lacks_sides() and category.get("flip_pairs") is None:
        warnings.warn(
            f"{where}: no joint's name says right or left ({', '.join(joints[:3])} ...), so mirrored pictures exchange "
            'none; if there are sides, add "flip_pairs": [[name, name], ...] to the category',
            stacklevel=2,
        )
    return skeleton


def file_sigmas(path: str | Path, category: dict) -> tuple[float, ...]:
    """OKS sigmas of a category: its own, or those of its joints' names. Raises DataError naming file and category."""
    try:
        return _sigmas(category, tuple(category["keypoints"]))
    except ValueError as error:
        raise DataError(f"{path}, category {category['id']}: {error}") from error


def _limbs(where: str, pairs, joints: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of joint numbers from 1 -> pairs of indices. Limbs are for drawing alone: wrong ones are left out, and told.

    A list in which there is a 0 counts from 0.
    """
    pairs = pairs if isinstance(pairs, list) else [pairs] if pairs else []
    first = int(min((j for pair in pairs if _is_pair(pair) for j in pair), default=1) != 0)
    numbers = range(first, first + len(joints))
    good = [pair for pair in pairs if _is_pair(pair) and {*pair} <= {*numbers}]
    wrong = ", ".join(str(pair)[:40] for pair in pairs if pair not in good)
    told = [] if first else ["skeleton counts joints from 0, where COCO does from 1"]
    told += [f"not drawn, as no pairs of joint numbers from {numbers[0]} to {numbers[-1]}: {wrong[:200]}"] if wrong else []
    if told:
        warnings.warn(f"{where}: {'; '.join(told)}; correct skeleton, which is for drawing alone", stacklevel=3)
    return tuple((a - first, b - first) for a, b in good)


def _is_pair(pair) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(type(j) is int for j in pair)


def _flip_pairs(category: dict, joints: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """A category's flip pairs, names or indices, or those that follow from the joints' names."""
    given = category.get("flip_pairs")
    if given is None:
        return flip_pairs_of(joints)
    places = {name: index for index, name in enumerate(joints)}
    if isinstance(given, list) and all(isinstance(pair, list) for pair in given):
        given = [[places.get(j, j) if isinstance(j, str) else j for j in pair] for pair in given]
    if not isinstance(given, list) or not all(_is_pair(pair) and {*pair} <= {*range(len(joints))} for pair in given):
        raise ValueError(f"flip_pairs must be pairs of joints' names, or numbers from 0 to {len(joints) - 1}; correct them")
    flat = [j for pair in given for j in pair]
    if len(set(flat)) < len(flat):
        raise ValueError("a joint comes twice in flip_pairs; name each at most once")
    return tuple(sorted((min(pair), max(pair)) for pair in given))


def _sigmas(category: dict, joints: tuple[str, ...]) -> tuple[float, ...]:
    given = category.get("sigmas") or category.get("keypoint_sigmas")
    if not given:
        return sigmas_of(joints)
    if not isinstance(given, list) or not all(type(value) in (int, float) and 0 < value < 1e9 for value in given):
        raise ValueError("sigmas must be numbers above 0; correct them")
    if len(given) != len(joints):
        raise ValueError(f"{len(given)} sigmas for {len(joints)} keypoints; give one each")
    return tuple(map(float, given))
