"""`gccpm predict`: pictures, folders, videos and webcams -> keypoints as csv or JSON and, if wanted, drawn ones."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gccpm_lib.cli import outputs
from gccpm_lib.cli.boxes import BoxFile, Detector, WholePictures, covering, open_detector, read_boxes
from gccpm_lib.cli.drawings import Drawings
from gccpm_lib.cli.inputs import NAMES, Frame, Source, batches, list_sources, read_frames, remarks
from gccpm_lib.cli.outputs import Predicted
from gccpm_lib.devices import choose
from gccpm_lib.export.engines import open_predictor
from gccpm_lib.prediction import smoothing, tracking
from gccpm_lib.prediction.predictor import PosePredictor, person_score
from gccpm_lib.progress import printable, tqdm
from gccpm_lib.weight_files import SHIPPED_NETWORK, shipped_networks

Finder = WholePictures | BoxFile | Detector
STOPPED = 130  # the shell's exit status for Ctrl-C
LEAST_SURE = 0.5  # share of joints: below it are 5 of 80 photographs of one person, 23 of COCO's 31 of several people


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `gccpm predict`; their names are those of the released validation script where it has them."""
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="pictures, folders of pictures, videos, camera:0 (until Ctrl-C)")
    network = f"network to predict with: a file, or the name of one that ships; default {SHIPPED_NETWORK}"
    add("--checkpoint-path", metavar="C", default=SHIPPED_NETWORK, help=network)
    add("--recipe", default="", help="for published files, which don't say: lip-published, ...")
    add("--upsampling", choices=("bilinear", "nearest"), help="for published files: LIP, COCO")
    add("--input-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: as trained")
    add("--multiscale", action="store_true", help="average over the scales 0.75, 1 and 1.25")
    add("--flip", action="store_true", help="average with the mirrored picture")
    add("--boxes", metavar="FILE.json", help="predict in these boxes (COCO's results or labels), not in whole pictures")
    add("--detector", metavar="NAME", help="find the boxes with this detector of torchvision.models.detection")
    add("--detector-weights", default="", metavar="FILE", help="its state_dict; default: torchvision's, downloaded once")
    add("--min-box-score", type=float, metavar="S", help="leave out lower boxes; default 0 of a file, 0.5 of a detector")
    add("--smooth", action="store_true", help="calm the joints over a video's frames (1 euro filter)")
    add("--output-name", metavar="FILE", help="name.csv (a table) or name.json (COCO's results); default predictions.*")
    add("--lip-submission", action="store_true", help="write the csv as LIP's server takes it: no header, no scores")
    add("--visualize", metavar="PATH", help="also draw the poses: into a folder, or one video into PATH.mp4")
    add("--overwrite", action="store_true", help="write over results and drawings that are there already")
    add("--batch-size", type=_at_least_one, default=16, metavar="N", help="pictures or frames read at once; default 16")
    add("--device", default="auto", help="cuda, mps or cpu; auto, the default: the first of these that is there")


def _at_least_one(text: str) -> int:
    if not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one frame."""

    frame: Frame
    boxes: np.ndarray  # (N, 5) x, y, w, h, score
    keypoints: np.ndarray | None  # (N, K, 3); None where the frame couldn't be read or predicted
    problems: tuple[str, ...]
    track_ids: tuple[int, ...] = ()  # (N,) who is who in a video
    unsmoothed: np.ndarray | None = None  # (N, K, 3) where keypoints are smoothed


class Tally:
    """What was found so far."""

    def __init__(self, sure_peak: float):
        self.sure_peak = sure_peak
        self.num_frames = self.num_pictures = self.num_persons = self.num_problems = 0
        self.empty, self.unsure = Counter(), Counter()  # frames by source: without anybody; with few sure joints

    def add(self, outcome: Outcome) -> None:
        self.num_problems += len(outcome.problems)
        if outcome.keypoints is None:
            return
        self.num_frames += 1
        self.num_pictures += outcome.frame.number is None
        self.num_persons += len(outcome.keypoints)
        if not len(outcome.keypoints):
            self.empty[outcome.frame.source.name] += 1
        elif np.mean(outcome.keypoints[:, :, 2] >= self.sure_peak) < LEAST_SURE:
            self.unsure[outcome.frame.source.name] += 1

    @property
    def what(self) -> str:
        return "picture" if self.num_pictures == self.num_frames else "frame"

    def doubts(self, whole: bool) -> list[str]:
        """Which pictures hold nobody, or, where whole ones are taken for a person each, perhaps not one alone."""
        lines = []
        if self.empty:
            lines.append(f"nobody found in {self._named(self.empty)}")
        if self.unsure and whole:
            lines.append(
                f"fewer than half of the joints are sure in {self._named(self.unsure)}: nobody, several or small people "
                "there? --boxes or --detector say whom to predict"
            )
        return lines

    def _named(self, frames: Counter) -> str:
        names = [name for name, _ in frames.most_common(NAMES)]
        more = f" and {len(frames) - NAMES:,} more" if len(frames) > NAMES else ""
        return f"{frames.total():,} of {_count(self.num_frames, self.what)} ({', '.join(names)}{more})"


def predict(options: argparse.Namespace) -> int:
    """Predict all inputs. Exit status: 0 done, 1 something couldn't be read (it is listed, the rest is done), 130 Ctrl-C.

    Everything that can be checked is, before the first frame; ValueError or OSError in one line.
    """
    _check(options)
    sources = list_sources(options.inputs)
    if options.smooth and all(source.kind == "picture" for source in sources):
        raise ValueError("--smooth is for videos and cameras, and none is given; leave it out")
    several = bool(options.boxes or options.detector)
    path = outputs.output_path(options.output_name, sources, several, options.lip_submission)
    drawn = outputs.drawing_paths(options.visualize, sources)
    read = [options.checkpoint_path, options.boxes, options.detector_weights, *(source.path for source in sources)]
    outputs.check_writable([path, *drawn.values()], filter(None, read), options.overwrite)
    finder = _open_finder(options, sources)
    scales = (0.75, 1.0, 1.25) if options.multiscale else (1.0,)
    predictor = open_predictor(
        options.checkpoint_path,
        recipe=options.recipe,
        upsampling=options.upsampling,
        input_size=options.input_size,
        scales=scales,
        flip=options.flip,
        device=options.device,
    )
    if options.flip and predictor.recipe.skeleton.lacks_sides():
        _say(["--flip: this network's joints have no right and left, so it averages each with itself"])
    return _run(options, sources, finder, predictor, path, drawn)


def _check(options: argparse.Namespace) -> None:
    if options.checkpoint_path in shipped_networks() and (options.recipe or options.upsampling):
        raise ValueError(
            f"{options.checkpoint_path} says its recipe itself; --recipe and --upsampling are for published files"
        )
    exported = Path(options.checkpoint_path).suffix.lower() in (".onnx", ".xml")
    if exported and options.device not in ("auto", "cpu") and not options.detector:
        raise ValueError(f"--device {options.device}: exported files run on the CPU; leave it out or give a checkpoint")
    if options.boxes and options.detector:
        raise ValueError("--boxes and --detector are two ways to say whom to predict; give one of them")
    if options.detector_weights and not options.detector:
        raise ValueError("--detector-weights needs --detector, the name of the network that they are of")
    if options.min_box_score is not None and not (options.boxes or options.detector):
        raise ValueError("--min-box-score needs --boxes or --detector: whole pictures have no boxes")
    options.device = choose(options.device)


def _open_finder(options: argparse.Namespace, sources: Sequence[Source]) -> Finder:
    """What knows whom to predict."""
    score = options.min_box_score
    if options.boxes:
        return read_boxes(options.boxes, sources, 0.0 if score is None else score)
    if options.detector:
        score = 0.5 if score is None else score
        return open_detector(options.detector, options.detector_weights, score, options.device)
    return WholePictures()


def _run(options, sources, finder: Finder, predictor: PosePredictor, path: Path, drawn: dict[Source, Path]) -> int:
    """Predict, draw and write; whatever ends it early, what was done by then is written."""
    ids, skeleton, sure_peak = outputs.image_ids(sources, finder.ids), predictor.recipe.skeleton, predictor.recipe.sure_peak
    results = outputs.Results(path, skeleton, options.lip_submission, sure_peak)
    tally, stopped, started = Tally(sure_peak), False, time.perf_counter()
    _say(remarks(options.inputs, sources))
    counts = [source.num_frames for source in sources]
    outcomes = _outcomes(batches(read_frames(sources, finder.labelled), options.batch_size), predictor, finder)
    outcomes = _followed(outcomes, options.smooth)
    bar = tqdm(total=sum(counts) if all(counts) else None, desc="predict", unit="frame", leave=False)
    try:
        with results, bar, Drawings(drawn, skeleton, sure_peak) as drawings:
            for outcome in outcomes:
                _say(outcome.problems)
                tally.add(outcome)
                if outcome.keypoints is not None:
                    results.add(_predicted(outcome, ids.get(outcome.frame.source.name)))
                    drawings.add(outcome.frame, outcome.keypoints)
                    bar.update()
    except KeyboardInterrupt:
        stopped = True
    whole, seconds = isinstance(finder, WholePictures), time.perf_counter() - started
    _say(tally.doubts(whole))
    print(printable(_summary(tally, whole, stopped, seconds, path, options.visualize)))
    return STOPPED if stopped else int(tally.num_problems > 0)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        tqdm.write(f"gccpm: {printable(line)}", file=sys.stderr)


def _outcomes(frames: Iterator[list[Frame]], predictor: PosePredictor, finder: Finder) -> Iterator[Outcome]:
    """Batches of frames -> the outcome of every frame, in order."""
    for batch in frames:
        readable = [frame for frame in batch if frame.image is not None]
        boxes = finder.boxes_of(readable)
        kept = [own[covering(own, frame.image.shape[:2])] for own, frame in zip(boxes, readable, strict=True)]
        keypoints = predictor.predict_many([frame.image for frame in readable], [own[:, :4] for own in kept])
        lost = [len(own) - len(some) for own, some in zip(boxes, kept, strict=True)]
        answers = iter(zip(kept, keypoints, lost, strict=True))
        for frame in batch:
            yield _unread(frame) if frame.image is None else _read(frame, *next(answers))


def _unread(frame: Frame) -> Outcome:
    return Outcome(frame, np.zeros((0, 5)), None, (frame.error,))


def _read(frame: Frame, boxes: np.ndarray, keypoints: np.ndarray, lost: int) -> Outcome:
    name = frame.source.path if frame.number is None else f"{frame.source.path}, frame {frame.number}"
    if not np.isfinite(keypoints).all():
        return Outcome(frame, boxes, None, (f"{name}: a joint is nan or infinite; the network's weights are damaged",))
    problem = f"{name}: less than 2 x 2 of its pixels are inside a box ({lost} left out); correct or remove it"
    return Outcome(frame, boxes, keypoints, (problem,) if lost else ())


def _followed(outcomes: Iterator[Outcome], is_smooth: bool) -> Iterator[Outcome]:
    """The same with the people of videos and cameras numbered, each source on its own, and smoothed if wanted."""
    source, tracks, people = None, tracking.Tracks(), {}
    for outcome in outcomes:
        if outcome.frame.source != source:
            source, tracks, people = outcome.frame.source, tracking.Tracks(), {}
        if outcome.frame.number is None or outcome.keypoints is None:
            yield outcome
            continue
        time, keypoints = outcome.frame.time, outcome.keypoints
        tracks, numbers = tracking.follow(tracks, outcome.boxes, time)
        rough = keypoints if is_smooth else None
        if is_smooth:
            people, keypoints = smoothing.smooth(people, numbers, keypoints, time)
        yield replace(outcome, keypoints=keypoints, track_ids=tuple(numbers), unsmoothed=rough)


def _predicted(outcome: Outcome, image_id: int | None) -> Predicted:
    frame, keypoints = outcome.frame, outcome.keypoints
    scores = [person_score(own) * float(box[4]) for own, box in zip(keypoints, outcome.boxes, strict=True)]
    return Predicted(
        frame.source, frame.number, image_id, keypoints, scores, frame.time, outcome.track_ids, outcome.unsmoothed
    )


def _summary(tally: Tally, whole: bool, stopped: bool, seconds: float, path: Path, drawn: str) -> str:
    persons = f"each {tally.what} as one person" if whole else _count(tally.num_persons, "person")
    problems = f", {_count(tally.num_problems, 'problem')}" if tally.num_problems else ""
    start = "stopped: " if stopped else ""
    if not tally.num_frames:
        return f"{start}no {tally.what} predicted{problems}; nothing written"
    done = f"{start}{_count(tally.num_frames, tally.what)} predicted, {persons}{problems}"
    written = f"{tally.num_frames / seconds:.1f} frames/s; keypoints in {path}"
    hint = "; where several people are, --boxes or --detector say whom" if whole else ""
    return f"{done}, {written}" + (f", drawn in {drawn}" if drawn else "") + hint


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
