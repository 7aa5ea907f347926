"""`gccpm predict`: pictures of one person each -> keypoints in LIP's csv form and, if wanted, drawn pictures."""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from gccpm_lib import checkpoints, drawing
from gccpm_lib.datasets.lip import write_predictions
from gccpm_lib.datasets.records import DataError, read_image
from gccpm_lib.prediction import PosePredictor

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `gccpm predict`; their names are those of the released validation script where it has them."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="pictures, or folders of pictures")
    parser.add_argument("--checkpoint-path", required=True, metavar="C", help="network to predict with")
    parser.add_argument("--recipe", default="", help="for published files, which don't say: lip-published, ...")
    parser.add_argument("--upsampling", choices=("bilinear", "nearest"), help="for published files: LIP, COCO")
    parser.add_argument("--input-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: as trained")
    parser.add_argument("--multiscale", action="store_true", help="average over the scales 0.75, 1 and 1.25")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    parser.add_argument("--output-name", default="predictions.csv", help="csv file: name.jpg,x1,y1,...")
    parser.add_argument("--visualize", metavar="FOLDER", help="also write each picture with its pose drawn here")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")


def predict(options: argparse.Namespace) -> int:
    """Predict every picture; exit status 1 when some couldn't be read (the others are done, these are listed)."""
    network = checkpoints.load_network(options.checkpoint_path, options.upsampling)
    recipe = checkpoints.recipe_of(options.checkpoint_path, options.recipe, options.input_size)
    scales = (0.75, 1.0, 1.25) if options.multiscale else (1.0,)
    predictor = PosePredictor(network, recipe, scales, options.flip, options.device)
    names, found, failed = [], [], 0
    pictures = list_pictures(options.images)
    twice = next((p for i, p in enumerate(pictures) if p.stem in {q.stem for q in pictures[:i]}), None)
    if twice is not None:
        raise DataError(f"{twice}: another picture of this name is given too; the csv can't tell them apart, rename one")
    for path in pictures:
        try:
            image = read_image(path)
        except DataError as error:
            print(f"gccpm: {error}", file=sys.stderr)
            failed += 1
            continue
        names.append(path.name)
        found.append(predictor.predict(image)[0])
        if options.visualize:
            _write_drawing(Path(options.visualize), path, image, found[-1], recipe.skeleton)
    if found:
        write_predictions(options.output_name, names, np.stack(found))
    print(f"{len(found)} pictures predicted, {failed} could not be read; keypoints in {options.output_name}")
    return int(failed > 0)


def list_pictures(paths: list[str]) -> list[Path]:
    """Pictures given by name, and those in given folders, sorted; DataError for what isn't there or holds none."""
    pictures = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
            if not inside:
                raise DataError(f"{path}: no pictures inside ({', '.join(PICTURES)})")
            pictures += inside
        elif path.exists():
            pictures.append(path)
        else:
            raise DataError(f"{path}: no such picture or folder; correct the path")
    return pictures


def _write_drawing(folder: Path, path: Path, image: np.ndarray, keypoints: np.ndarray, skeleton) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    side = max(256, *image.shape[:2])
    drawn = drawing.draw_pose(image, drawing.as_visible(keypoints), skeleton, side)
    cv2.imwrite(str(folder / f"{path.stem}.jpg"), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
