"""What a profile's trainings need before they run: `gccpm plan --profile published --set 02_train_lip.dataset_folder=F`.

Says where each parameter comes from, reads all labels and the header of every image, takes real training steps on the
device at hand, and tells from these the hours, memory, disk and the batch that fits. It writes to a temporary folder only.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import torch

from gccpm_lib.datasets.records import BadSamples, DataError, Person, picture_sizes
from gccpm_lib.devices import choose, training_settings
from gccpm_lib.evaluation.validation import read_validation
from gccpm_lib.loading import TrainingSet, epoch_batches, make_loader, samples_per_second
from gccpm_lib.network import count_parameters
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.progress import tqdm
from gccpm_lib.recipes import Recipe
from gccpm_lib.report.notebook import project_root
from gccpm_lib.report.profiles import Profile, all_parameters, read_notebook, read_parameters, read_profile, source_notebook
from gccpm_lib.training.estimates import checkpoint_bytes, empty_network, main_memory_gb, short, training_bytes
from gccpm_lib.training.loop import optimiser_step, read_training
from gccpm_lib.training.run import Run, from_parameters
from gccpm_lib.training.start import start

# Notebooks that train one network, and the recipe that they take where a profile names none.
TRAININGS = {"02_train_lip": "lip-corrected", "03_train_coco": "coco-corrected"}
NUM_STEPS, LONGEST_S = 10, 60  # steps that are measured; where they would take longer, smaller batches are
SHOWN = 20  # problems of one kind that are printed one by one


@dataclass
class Plan:
    """What was found of one training. `problems` stop it; `facts` are (what, value) in reading order."""

    page: str
    problems: list[str] = field(default_factory=list)
    parameters: list[tuple[str, object, str]] = field(default_factory=list)  # name, value, source
    facts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """Training and loading on the machine at hand."""

    batch_size: int  # images per measured step
    images_per_s: float
    loaded_per_s: float  # by one loader process
    validated_per_s: float
    gpu_bytes: int | None  # peak; None where there is no GPU


def plan(name_or_path: str = "sample", settings: Iterable[str] = (), num_steps: int = NUM_STEPS) -> int:
    """Print the plan of every training of a profile; 0, or 1 where something would stop one.

    ValueError as `read_profile`.
    """
    root, settings = project_root(), list(settings)
    profile = read_profile(root, name_or_path, settings)
    pages = [page for page, source in profile.sources.items() if source in TRAININGS]
    if not pages:
        print(f"profile {profile.name} trains no network by {' or '.join(TRAININGS)}; nothing to plan")
    found = [plan_training(root, profile, page, settings, num_steps) for page in pages]
    for one in found:
        _print(one)
    return int(any(one.problems for one in found))


def plan_training(root: Path, profile: Profile, page: str, settings: Sequence[str], num_steps: int) -> Plan:
    """The plan of the training on one page."""
    found = Plan(page)
    run = _run(root, profile, page)
    try:
        recipe = run.full_recipe()
    except ValueError as error:
        found.problems.append(str(error))
        return found
    found.parameters = parameter_sources(root, profile, page, settings, recipe)
    persons, recipe = _read(run, recipe, found)
    found.problems += _start_problems(run, profile, page)
    found.problems += _device_problems(run)
    if not persons:
        return found
    device = "cpu" if _device_problems(run) else choose(run.device)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with training_settings(device, run.deterministic):  # as the training computes
                measured = measure(replace(run, output_folder=folder, device=device), recipe, persons, num_steps)
        except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: memory, or a device that can't do it
            found.problems.append(f"a training step fails: {' '.join(str(error).split())}")
            return found
    found.facts += _needs(run, recipe, len(persons), measured, device)
    free = shutil.disk_usage(_existing(Path(run.output_folder))).free
    if free < 3 * checkpoint_bytes(recipe):
        found.problems.append(f"{run.output_folder}: {free / 1e9:.1f} GB free; three checkpoints need more: free some")
    return found


def _run(root: Path, profile: Profile, page: str) -> Run:
    """The page's Run, as its notebook makes it."""
    values = all_parameters(root, profile, page)
    dataset_folder = str(root / Path(values["dataset_folder"]).expanduser())
    folder, start_from = root / "runs" / str(values["experiment_name"]), values["checkpoint_path"]
    if start_from and (root / start_from).exists():
        start_from = str(root / start_from)
    own = {"dataset_folder": dataset_folder, "output_folder": str(folder / page), "checkpoint_path": start_from}
    return from_parameters(values, recipe=values["recipe"] or TRAININGS[profile.sources[page]], **own)


def parameter_sources(
    root: Path, profile: Profile, page: str, settings: Sequence[str], recipe: Recipe
) -> list[tuple[str, object, str]]:
    """(name, value, source) of every parameter of a page; source: "--set", "profile", "recipe" or "default"."""
    notebook = read_notebook(source_notebook(root, profile, page))
    given, told = profile.notebooks[page], {text.partition("=")[0].strip() for text in settings}
    rows = []
    for parameter in read_parameters(notebook, page):
        value = given.get(parameter.name, parameter.value)
        source = "--set" if f"{page}.{parameter.name}" in told else "profile" if parameter.name in given else "default"
        if value is None and hasattr(recipe, parameter.name):
            value, source = getattr(recipe, parameter.name), f"recipe {recipe.name}"
        rows.append((parameter.name, value, source))
    return rows


def _read(run: Run, recipe: Recipe, found: Plan) -> tuple[list[Person], Recipe]:
    """The training persons; everything wrong with labels and image headers goes to found, all at once."""
    bad = BadSamples("skip")
    persons, validation = [], None
    lenient = replace(run, on_bad_sample="skip")
    try:
        recipe, persons = read_training(lenient, bad)
        if run.num_val_persons:
            validation = read_validation(
                run.dataset_folder, recipe, labels=run.val_labels, num_persons=run.num_val_persons, bad=bad
            )
    except (DataError, OSError) as error:
        found.problems.append(str(error))
    problems = {skip.name: skip.reason for skip in bad.skipped}
    subjects = [*persons, *(validation.subjects if validation else ())]
    problems |= image_problems(subjects)
    if run.on_bad_sample == "skip":
        found.facts.append(("left out as bad samples", f"{len(problems):,}"))
    else:
        found.problems += problems.values()
    images = {person.image_path for person in subjects}
    found.facts.append(
        ("persons", f"{len(persons):,} to train on, {len(validation.subjects) if validation else 0:,} to validate")
    )
    found.facts.append(("images", f"{len(images):,}; every header was read, not every pixel"))
    good = [person for person in persons if str(person.image_path) not in problems]
    return good, recipe


def image_problems(persons: Sequence[Person]) -> dict[str, str]:
    """Path -> what is wrong with the header of an image: missing, unreadable, or of another size than its labels say."""
    wrong = {}
    first = {person.image_path: person for person in persons}
    for path, person in tqdm(first.items(), desc="image headers", leave=False):
        try:
            size = tuple(int(side) for side in picture_sizes([person])[0])
        except DataError as error:
            wrong[str(path)] = str(error)
            continue
        if person.picture_size not in (None, size, size[::-1]):  # reversed: turned by its EXIF tag or not
            (width, height), (w, h) = size, person.picture_size
            wrong[str(path)] = (
                f"{path}: {width} x {height} pixels, but {w} x {h} in the label file; use the labelled images"
            )
    return wrong


def _start_problems(run: Run, profile: Profile, page: str) -> list[str]:
    """Weights to start from that are neither there nor made by a page before."""
    path = run.checkpoint_path
    made = any(f"/{other}/" in path for other in profile.notebooks if other != page)
    if not path or made or Path(path).exists() or ("/" not in path and not path.endswith((".pt", ".pth", ".safetensors"))):
        return []
    return [f"checkpoint_path {path}: no such file; give weights to start from"]


def _device_problems(run: Run) -> list[str]:
    try:
        choose(run.device)
    except ValueError as error:
        return [str(error)]
    return []


def measure(run: Run, recipe: Recipe, persons: Sequence[Person], num_steps: int) -> Measured:
    """Real steps, loading and validation on the run's device, with batches small enough to take a minute at most."""
    kind = torch.device(run.device).type
    state = start(run, recipe, say=lambda _: None)
    state.network.train()
    training_set = TrainingSet(persons, recipe, run.seed)

    def seconds(batch_size: int, count: int) -> list[float]:
        batches = epoch_batches(len(persons), 0, replace(recipe, batch_size=batch_size), run.seed)
        times = []
        for batch in make_loader(training_set, (batches * count)[:count], 0):
            started = time.perf_counter()
            optimiser_step(state, [batch], recipe, run.device, 1e-3)
            if kind == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        return times

    batch_size = min(recipe.batch_size, len(persons))
    probe = min(2, batch_size)
    if kind == "cpu":
        per_image = min(seconds(probe, 2)) / probe
        batch_size = max(1, min(batch_size, int(LONGEST_S / num_steps / per_image)))
    times = seconds(batch_size, num_steps + 1)[1:]  # the first step warms up
    precision = "float32" if kind == "cpu" else recipe.precision
    predictor = PosePredictor(state.kept_network, recipe, device=run.device, precision=precision)
    some = list(persons[: 4 if kind == "cpu" else 64])
    predictor.predict_persons(some)  # warms up
    started = time.perf_counter()
    predictor.predict_persons(some)
    validated_per_s = len(some) / (time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if kind == "cuda" else None
    loaded = samples_per_second(persons, recipe, run.seed, 50)
    return Measured(batch_size, batch_size / statistics.median(times), loaded, validated_per_s, peak)


def _needs(run: Run, recipe: Recipe, num_persons: int, measured: Measured, device: str) -> list[tuple[str, str]]:
    """Steps, hours, memory, disk and the batch that fits."""
    batches = -(-num_persons // recipe.batch_size)
    steps = recipe.num_epochs * -(-batches // run.batches_per_iter)
    loaded = measured.loaded_per_s * max(1, run.num_workers)
    speed = min(measured.images_per_s, loaded) if run.num_workers else 1 / (1 / measured.images_per_s + 1 / loaded)
    training_h = recipe.num_epochs * num_persons / speed / 3600
    validation_h = recipe.num_epochs * run.num_val_persons / measured.validated_per_s / 3600
    total = torch.cuda.get_device_properties(0).total_memory if device == "cuda" else psutil.virtual_memory().available
    memory = "GPU memory" if device == "cuda" else "main memory for the step"
    height, width = recipe.input_size
    return [
        ("recipe, input, stages", f"{recipe.name}, {height} x {width}, {recipe.num_refinement_stages + 1}"),
        ("optimiser steps", f"{steps:,} ({recipe.num_epochs} epochs of {batches:,} batches of {recipe.batch_size})"),
        ("measured on", f"{device}, {torch.get_num_threads()} threads, batches of {measured.batch_size}"),
        ("training speed", f"{short(measured.images_per_s)} images/s"),
        ("loading speed", f"{short(measured.loaded_per_s)} images/s a process; {run.num_workers} loader processes"),
        ("hours", f"{short(training_h)} to train, {short(validation_h)} to validate"),
        (memory, f"{short(_step_bytes(recipe, measured) / 1e9)} GB at batch {recipe.batch_size}, of {total / 1e9:.1f} GB"),
        ("batch that fits", f"{batch_that_fits(recipe, measured, total):,}"),
        ("main memory", f"{short(main_memory_gb(num_persons, run.num_workers))} GB for records and processes"),
        ("disk", f"{short(2 * checkpoint_bytes(recipe) / 1e9)} GB for two checkpoints"),
    ]


def _step_bytes(recipe: Recipe, measured: Measured) -> int:
    """Memory of a training step: the measured peak on a GPU, else counted."""
    return measured.gpu_bytes or training_bytes(recipe)


def batch_that_fits(recipe: Recipe, measured: Measured, total: int) -> int:
    """The largest batch whose step takes nine tenths of the memory at most."""
    fixed = 16 * count_parameters(empty_network(recipe))
    measured_batch = measured.batch_size if measured.gpu_bytes else recipe.batch_size
    per_image = (_step_bytes(recipe, measured) - fixed) / measured_batch
    return max(0, int((0.9 * total - fixed) / per_image))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _print(found: Plan) -> None:
    print(f"{found.page}\n")
    for name, value, source in found.parameters:
        print(f"  {name:24s} {value!s:32.32s} {source}")
    print()
    for what, value in found.facts:
        print(f"  {what:24s} {value}")
    if found.problems:
        problems = "1 problem" if len(found.problems) == 1 else f"{len(found.problems):,} problems"
        print(f"\n  {problems} would stop it:")
        print("\n".join(f"  - {text}" for text in found.problems[:SHOWN]))
        if len(found.problems) > SHOWN:
            print(f"  - and {len(found.problems) - SHOWN:,} more")
    print()
