"""Profiles are the recipes that they name: the trainings they describe, held against the recipes' tables value by value."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest
from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook

from gccpm_lib.__main__ import main
from gccpm_lib.network import GCCPM
from gccpm_lib.recipes import changes, get_recipe, told_changes
from gccpm_lib.report import notebook, profiles
from gccpm_lib.tools import plan
from gccpm_lib.training import parameter_groups
from gccpm_lib.training.run import Run, from_parameters

ROOT = Path(__file__).parents[2]
TRAINING = {"02_train_lip": "lip", "03_train_coco": "coco", "05_global_context_ablation": "lip"}
PROFILES = sorted(path.stem for path in (ROOT / "notebooks" / "profiles").glob("*.yaml"))


def training_runs(name, settings=()) -> dict[str, Run]:
    """Page -> its training, as the notebook makes it of its parameters."""
    profile = profiles.read_profile(ROOT, name, settings)
    pages = [page for page, source in profile.sources.items() if source in TRAINING]
    given = {page: profiles.all_parameters(ROOT, profile, page) for page in pages}
    return {page: from_parameters(these, output_folder="runs/x") for page, these in given.items()}


@pytest.mark.parametrize("name", PROFILES)
def test_a_training_is_its_recipe_but_for_what_its_profile_lists(name):
    profile = profiles.read_profile(ROOT, name)
    for page, run in training_runs(name).items():
        listed = profile.notebooks[page]
        assert listed["recipe"].startswith(TRAINING[profile.sources[page]]), f"{name}: {page} names no recipe of its own"
        recipe, named = dataclasses.asdict(run.full_recipe()), dataclasses.asdict(get_recipe(listed["recipe"]))
        differing = {field for field in named if recipe[field] != named[field]}
        assert differing <= listed.keys(), f"{name}: {page}"


@pytest.mark.parametrize(
    ("profile", "page", "recipe"),
    [
        ("published", "02_train_lip", "lip-corrected"),
        ("published", "02_train_lip", "lip-published"),
        ("published_coco", "03_train_coco", "coco-corrected"),
        ("published_coco", "03_train_coco", "coco-published"),
    ],
)
def test_full_trainings_have_every_value_of_the_recipe(profile, page, recipe):
    run = training_runs(profile, [f"{page}.recipe={recipe}"])[page]
    assert run.full_recipe() == get_recipe(recipe)
    assert (run.batches_per_iter, run.num_train_persons, run.num_val_persons) == (1, None, 1000)
    assert run.from_mobilenet and run.checkpoint_path == "" and not run.train_and_val


def rates(profile, page, recipe) -> dict[tuple[float, float], int]:
    """(rate, weight decay) -> how many parameters of the profile's network have them."""
    full = training_runs(profile, [f"{page}.recipe={recipe}"])[page].full_recipe()
    groups = parameter_groups(GCCPM(full.num_heatmaps, full.num_refinement_stages), full)
    counts = {}
    for group in groups:
        key = round(group["lr"], 9), group["weight_decay"]
        counts[key] = counts.get(key, 0) + sum(parameter.numel() for parameter in group["params"])
    return counts


def test_rates_of_every_group_as_published():
    """LIP: 4e-5, refinement 4 x, biases 2 x their layer's; decay on weights of whole convolutions. COCO: 1e-3 alone."""
    lip = rates("published", "02_train_lip", "lip-published")
    assert lip.keys() == {(4e-5, 5e-4), (4e-5, 0), (8e-5, 0), (1.6e-4, 5e-4), (3.2e-4, 0)}
    everything = sum(parameter.numel() for parameter in GCCPM(17, 5).parameters())
    assert sum(lip.values()) == everything - 2 * (256 + 128)  # but for weight and bias of cpm's two norms
    assert rates("published_coco", "03_train_coco", "coco-published") == {(1e-3, 0.0): everything}


def parameters_of(source):
    path = ROOT / "notebooks" / f"{source}.ipynb"
    return {parameter.name: parameter for parameter in profiles.read_parameters(profiles.read_notebook(path), str(path))}


@pytest.mark.parametrize("source", TRAINING)
def test_parameters_of_the_recipe_default_to_it(source):
    recipe_fields = {field.name for field in dataclasses.fields(get_recipe("lip-modern"))}
    values = {name: parameter.value for name, parameter in parameters_of(source).items()}
    assert {values[name] for name in values.keys() & recipe_fields | {"recipe"}} == {None}
    assert values["profile"] == "sample" and next(iter(values)) == "profile"


@pytest.mark.parametrize("source", ["02_train_lip", "03_train_coco"])
def test_every_field_of_a_run_can_be_given(source):
    fields = {field.name for field in dataclasses.fields(Run)}
    functions = {"augmentation"}  # a parameter is a plain value; a function is given in a cell, as 00 shows
    assert fields - parameters_of(source).keys() == {"output_folder"} | functions


@pytest.mark.parametrize("source", TRAINING)
def test_every_parameter_is_used_and_none_written_over(source):
    """A field of Run is read from the notebook's names, so no other cell may use such a name for something else."""
    known = parameters_of(source).keys()
    cells = profiles.read_notebook(ROOT / "notebooks" / f"{source}.ipynb")["cells"]
    code = [c["source"] for c in cells if c["cell_type"] == "code" and not profiles.has_tag(c, "parameters")]
    names = [node for text in code for node in ast.walk(ast.parse(plain(text))) if isinstance(node, ast.Name)]
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)} | {field.name for field in dataclasses.fields(Run)}
    assert known - used <= {"profile", "experiment_name"}  # `filled` and `begin` take them out of globals()
    written = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    assert not written & (known | {field.name for field in dataclasses.fields(Run)})


def plain(text: str) -> str:
    """A cell without its lines for a shell or IPython."""
    return re.sub(r"^(\s*)[!%].*$", r"\1pass", text, flags=re.MULTILINE)


@pytest.mark.parametrize("source", TRAINING)
def test_without_a_recipe_the_corrected_one_is_taken(source):
    cells = profiles.read_notebook(ROOT / "notebooks" / f"{source}.ipynb")["cells"]
    corrected = f"{TRAINING[source]}-corrected"
    ways = f'recipe=recipe or "{corrected}"', f'training_run(globals(), "{corrected}"'
    assert any(way in cell["source"] for cell in cells for way in ways)
    assert plan.TRAININGS.get(source, corrected) == corrected


def test_changes_are_told_with_the_recipes_own_value():
    recipe = dataclasses.replace(get_recipe("lip-published"), base_lr=2e-3)
    assert told_changes(recipe) == "lip-published with base_lr 0.002 (recipe: 4e-05)"
    assert told_changes(get_recipe("coco-modern")) == "coco-modern as it is" and changes(get_recipe("coco-modern")) == {}


# ------------------------------------------------------------------------------------------------ opened by hand


@pytest.mark.parametrize("source", TRAINING)
def test_opened_by_hand_a_notebook_trains_the_sample(source, capsys):
    """What the profile sample gives is what is None in the cell, so both ways of running have the same values."""
    given = {name: parameter.value for name, parameter in parameters_of(source).items()}
    by_hand = {**given, **notebook.filled(given)}
    sample = profiles.read_profile(ROOT, "sample")
    assert {**by_hand, "profile": ""} == profiles.all_parameters(ROOT, sample, source)
    assert capsys.readouterr().out == ""


def test_own_values_stand_before_the_profiles_and_are_told(capsys):
    given = {name: parameter.value for name, parameter in parameters_of("02_train_lip").items()} | {"base_lr": 1e-4}
    assert "base_lr" not in notebook.filled(given) and notebook.filled(given)["batch_size"] == 8
    assert "base_lr = 0.0001, as above; profile sample has 0.002" in capsys.readouterr().out


def test_without_a_profile_nothing_is_filled_in_and_a_page_must_be_known():
    given = {name: parameter.value for name, parameter in parameters_of("02_train_lip").items()}
    assert notebook.filled({**given, "profile": ""}) == {}
    with pytest.raises(ValueError, match="page_name 'mine': not in profile sample"):
        notebook.filled({**given, "page_name": "mine"})
    with pytest.raises(ValueError, match="experiment_name"):
        notebook.run_folder(given["experiment_name"])


# ------------------------------------------------------------------------------------------------ run by the runner


@pytest.mark.parametrize("name", PROFILES)
def test_the_runner_gives_no_notebook_a_profile_to_fill_from(name):
    profile = profiles.read_profile(ROOT, name)
    for page, source in profile.sources.items():
        assert profile.notebooks[page].get("profile", "") == "" and ("profile" in parameters_of(source)) == (
            "profile" in profile.notebooks[page]
        )


CELL = 'profile = "sample"\nexperiment_name: str | None = None\npage_name = "01_prep"\nepochs: int | None = None\n'
FILL = """globals().update(notebook.filled(globals()))
folder = notebook.run_folder(experiment_name)
notebook.record_metrics(folder, page_name, headline={}, metrics={"epochs": epochs})"""


def test_no_value_of_another_profile_comes_into_a_run(project, capsys):
    """Executed: the sample's 5 epochs don't reach a profile that leaves the number to the recipe."""
    first = "from gccpm_lib.report import notebook"
    cells = [new_code_cell(CELL, metadata={"tags": ["parameters"]}), new_code_cell(first), new_code_cell(FILL)]
    write(new_notebook(cells=cells), project / "notebooks" / "01_prep.ipynb")
    for name, given in (("sample", "{epochs: 5}"), ("other", "{}")):
        (project / "notebooks" / "profiles" / f"{name}.yaml").write_text(f"notebooks:\n  01_prep: {given}\n")
    recorded = {}
    for name in ("sample", "other"):
        assert main(["reproduce", "--profile", name]) == 0
        metrics = json.loads((project / "runs" / name / "metrics" / "01_prep.json").read_text())
        recorded[name] = metrics["metrics"]["epochs"]
    assert recorded == {"sample": 5, "other": None}
    assert main(["reproduce", "--profile", "other", "--set", "01_prep.profile=sample"]) == 2
    assert "run gccpm reproduce --profile sample" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("notebooks:\n  01_data_prep: {seed: 1, seed: 2}\n", "the key 'seed' twice"),
        ("notebooks: {}\nnotebooks: {}\n", "the key 'notebooks' twice"),
        ("notebooks: " + "[" * 50_000, "not readable as YAML"),
        ("title: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        (b"title: \x80\n", "not a text in UTF-8"),
        ("notebooks: &n\n  01_data_prep: *n\n", "more than 10,000 values, anchors written out"),
        (
            "a: &a [x, x, x, x, x, x]\n"
            + "".join(f"{c}: &{c} [{', '.join(6 * ['*' + b])}]\n" for b, c in zip("abcdef", "bcdefg", strict=True)),
            "more than 10,000 values, anchors written out",
        ),
    ],
    ids=["twice", "twice at the top", "deep", "tag", "bytes", "of itself", "bomb"],
)
def test_what_is_no_profile_is_told_in_one_line(tmp_path, text, told):
    file = tmp_path / "p.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=told) as error:
        profiles.read_profile(ROOT, str(file))
    assert str(file) in str(error.value) and "\n" not in str(error.value)
