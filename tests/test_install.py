"""The door: what is imported is listed, what is extra can be missing, and every system finds its way in."""

import ast
import multiprocessing
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from gccpm_lib import checkpoints, files, loading, timing

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "gccpm_lib").rglob("*.py")
)
UNIX = {
    "os": "fork getuid geteuid getpgid killpg setsid sched_getaffinity statvfs sysconf O_DIRECTORY".split(),
    "signal": "SIGKILL SIGHUP SIGALRM SIGUSR1 SIGCHLD alarm setitimer pthread_sigmask".split(),
}
PREDICTING = ("cli.predict", "training.loop", "evaluation", "show.drawing", "export.engines", "__main__")  # without extras


def plain(name: str) -> str:
    """A distribution's name as registries compare it, without version and extras."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def listed(*extras: str) -> set[str]:
    """The distributions that the package and these extras ask for."""
    return {plain(line) for line in PROJECT["dependencies"] + [line for name in extras for line in EXTRAS[name]]}


def imports(path: Path) -> set[str]:
    """Top names of everything that a file imports from outside the standard library and the project."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"gccpm_lib", "conftest", "browsing"}


def python(code: str) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("folder, extras", [("gccpm_lib", ("export", "lab", "render")), ("tests", tuple(EXTRAS))])
def test_everything_imported_is_listed(folder, extras):
    distributions = packages_distributions()
    known = listed(*extras)
    missing = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in imports(path)
        if not known & {plain(found) for found in distributions.get(name, [name])}
    }
    assert not missing, f"{sorted(missing)}; list it in pyproject.toml"


def test_the_lock_holds_every_listed_package_with_hashes():
    """requirements.txt is made by `make lock`; a package that pyproject.toml gained since isn't in it."""
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pinned = {
        plain(name): hashed for name, hashed in re.findall(r"^([\w.-]+)==\S+[^\n]*\\\n( +--hash=sha256:)?", lock, re.M)
    }
    assert listed(*EXTRAS) - {"gccpm"} <= set(pinned), "run make lock"
    assert all(pinned.values())


def test_conda_and_the_image_take_their_packages_from_the_lock():
    for name in ("environment.yml", "Dockerfile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.search(r"-r \S*requirements\.txt", text) and "==" not in text, name


def test_extras_are_missed_in_one_line_and_only_by_who_needs_them():
    """Their packages are hidden: the rest works, and who asks for them is told which extra brings them."""
    hidden = {
        name
        for name, owners in packages_distributions().items()
        if {plain(o) for o in owners} & (listed(*EXTRAS) - {"gccpm"})
    }
    hidden -= {name for name, owners in packages_distributions().items() if {plain(o) for o in owners} & listed()}
    hide = f"""
import importlib, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(hidden)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
    works = python(hide + f"for name in {PREDICTING!r}: importlib.import_module('gccpm_lib.' + name)")
    assert works.returncode == 0, works.stderr
    for module, extra in (("export.files", "export"), ("rendering.bodies", "render"), ("show.inspector", "lab")):
        lacks = python(hide + f"import gccpm_lib.{module}")
        assert re.search(rf'is not installed; pip install "gccpm\[{extra}\]"', lacks.stderr.splitlines()[-1]), lacks.stderr
    told = python(hide + "from gccpm_lib.__main__ import main; sys.exit(main(['reproduce']))")
    assert told.returncode == 2 and 'pip install "gccpm[lab]"' in told.stderr and len(told.stderr.splitlines()) == 1


def test_no_import_needs_what_windows_or_macos_lack():
    """Every module is imported without the modules of Unix, CPU affinity, fork and links."""
    found = python(f"""
import importlib, os, sys, traceback
import anny, anywidget, filelock, matplotlib, nbconvert, nncf, pandas, torch  # they know their own way
for name in ("fcntl", "resource", "pwd", "grp", "termios", "pty"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "fork", "symlink", "link"):
    vars(os).pop(name, None)
for name in {[name for name in MODULES if name != "gccpm_lib.training.__main__"]!r}:
    try:
        importlib.import_module(name)
    except Exception:
        print(name, traceback.format_exc().splitlines()[-1])
""")
    assert found.returncode == 0, found.stderr
    assert not found.stdout.strip(), found.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "gccpm_lib").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_windows_lacks_is_asked_for_before_it_is_used(path):
    """os.fork and the like, read in the source: the file has to ask `hasattr(os, ...)`."""
    text = path.read_text(encoding="utf-8")
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in UNIX.get(node.value.id, ())
    }
    unasked = {f"{module}.{name}" for module, name in used if f"hasattr({module}, " not in text}
    assert not unasked


def test_text_is_utf_8_on_every_system():
    """Windows reads and writes text in an encoding of its own unless it is told."""
    unsaid = []
    for path in (ROOT / "gccpm_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", ""))
            if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
                continue
            text = name in ("read_text", "write_text")
            if isinstance(node.func, ast.Name) and name == "open":
                text = not any(isinstance(word, ast.Constant) and "b" in str(word.value) for word in node.args[1:])
            unsaid += [f"{path.relative_to(ROOT)}:{node.lineno}"] if text else []
    assert not unsaid, "say encoding='utf-8'"


def test_folders_are_shown_elsewhere_without_symbolic_links_too(tmp_path, monkeypatch):
    source = tmp_path / "with a blank"
    source.mkdir()
    (source / "a.txt").write_text("a")
    files.link(source, tmp_path / "as link")
    assert (tmp_path / "as link").is_symlink() and (tmp_path / "as link" / "a.txt").read_text() == "a"
    monkeypatch.delattr("os.symlink")
    files.link(source, tmp_path / "by files")
    assert not (tmp_path / "by files").is_symlink() and (tmp_path / "by files" / "a.txt").samefile(source / "a.txt")
    monkeypatch.delattr("os.link")
    files.link(source / "a.txt", tmp_path / "copied.txt")
    assert (tmp_path / "copied.txt").read_text() == "a" and not (tmp_path / "copied.txt").samefile(source / "a.txt")


def test_work_goes_on_without_affinity_links_and_forks(tmp_path, monkeypatch):
    for name in ("sched_getaffinity", "symlink", "link"):
        monkeypatch.delattr(os, name, raising=False)
    assert timing.usable_cores() == os.cpu_count()
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    context = loading.worker_options(2)["multiprocessing_context"]
    assert context.get_start_method() == "spawn"
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "folders don't open here")))
    checkpoints.sync_folder(tmp_path)


@pytest.mark.parametrize("message", ["libGL.so.1: cannot open shared object file", "No module named 'cv2'"])
def test_opencv_that_cant_be_loaded_is_explained_in_one_line(message, tmp_path):
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r}, name='cv2')")
    here = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from gccpm_lib.__main__ import main; "
    told = python(here + "sys.exit(main(['predict', 'photo.jpg']))")
    assert told.returncode == 2 and message in told.stderr and "opencv-python-headless" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_help_answers_at_once_because_it_loads_no_room():
    """Within 0.3 s of the processor's time, which a busy machine doesn't stretch."""
    found = python(
        "import sys, time; from gccpm_lib.__main__ import main\n"
        "try: main(['--help'])\nfinally: print(); print(time.process_time(), *sys.modules)"
    )
    seconds, *loaded = found.stdout.splitlines()[-1].split()
    assert "reproduce" in found.stdout and not set(loaded) & {"torch", "numpy", "cv2", "pandas"}
    assert float(seconds) < 0.3
