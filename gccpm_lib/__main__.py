"""The command line `gccpm` (also `python -m gccpm_lib`). A room is imported when its command is called, and no sooner."""

import argparse
import sys
from collections.abc import Sequence

from gccpm_lib import __version__
from gccpm_lib.extras import extra, import_advice
from gccpm_lib.files import FolderBusy
from gccpm_lib.progress import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 a notebook failed or a check differs, 2 wrong input (one line says what), 3 folder in use."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    advice = ""
    try:
        parser = _parser(arguments[0] if arguments else "")
        options, rest = parser.parse_known_args(arguments)
        if rest and not options.takes_more:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        options.rest, advice = rest, options.advice
        return options.run(options)
    except FolderBusy as error:
        print(f"gccpm: {error}", file=sys.stderr)
        return 3
    except (ValueError, OSError) as error:  # DataError is a ValueError
        print(f"gccpm: {printable(error)}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"gccpm: {import_advice(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"gccpm: stopped{advice}", file=sys.stderr)
        return 130


def _parser(wanted: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gccpm", description="Global Context for Convolutional Pose Machines.")
    parser.add_argument("--version", action="version", version=f"gccpm {__version__}")
    parser.set_defaults(advice="", takes_more=False)  # advice: what to say after Ctrl-C
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_reproduce(commands)
    _add_publish(commands)
    _add_plan(commands)
    _add_predict(commands, wanted=wanted == "predict")
    _add_inspect(commands, wanted=wanted == "inspect")
    _add_lip_from_coco(commands, wanted=wanted == "lip-from-coco")
    _add_verify(commands)
    _add_tools(commands)
    return parser


def _add_reproduce(commands) -> None:
    reproduce = commands.add_parser(
        "reproduce",
        help="run a profile's notebooks and publish the report",
        description="Run the notebooks of a profile that changed, and what depends on them, then publish the report to "
        "runs/PROFILE/report/index.html where git has reports/PROFILE, else to reports/PROFILE. Executed notebooks and "
        "working files go to runs/PROFILE/.",
    )
    _add_profile(reproduce)
    _add_set(reproduce)
    advice = "; the same command goes on with the notebook that was running"
    reproduce.set_defaults(run=lambda options: _runner().reproduce(options.profile, options.set), advice=advice)


def _add_plan(commands) -> None:
    plan = commands.add_parser(
        "plan",
        help="what a profile's trainings need before they run",
        description="Say of each training of a profile where its values come from, read all labels and image headers, take "
        "real training steps on the device at hand, and tell hours, memory, disk and the batch that fits. Exit status 1: "
        "something would stop the run.",
    )
    _add_profile(plan)
    _add_set(plan)
    plan.add_argument("--steps", type=int, default=10, help="training steps that are measured")
    plan.set_defaults(run=_plan)


def _plan(options) -> int:
    with extra("lab"):
        from gccpm_lib.tools.plan import plan

    return plan(options.profile, options.set, options.steps)


def _add_tools(commands) -> None:
    """Commands with an argument parser of their own."""
    for name, module, what in (
        ("estimate", "training.estimates", "hours, memory and disk of the full trainings on other machines"),
        ("benchmark", "tools.benchmark", "how fast this machine trains, loads and scores"),
        ("card", "tools.model_card", "publish a trained network with its model card"),
    ):
        command = commands.add_parser(name, help=what, add_help=False)
        command.set_defaults(run=lambda options, module=module: _run_tool(module, options.rest), takes_more=True)


def _run_tool(module: str, rest: list[str]) -> int:
    import importlib

    with extra("lab"):
        tool = importlib.import_module(f"gccpm_lib.{module}")
    tool.main(rest)
    return 0


def _add_publish(commands) -> None:
    publish = commands.add_parser(
        "publish",
        help="write the report's pages again, without running",
        description="Write reports/PROFILE/*.html again from the notebooks that were last run.",
    )
    _add_profile(publish)
    publish.set_defaults(run=lambda options: _runner().publish(options.profile))


def _runner():
    with extra("lab"):
        from gccpm_lib.report import runner

    return runner


def _add_predict(commands, wanted: bool) -> None:
    """Its options stand in a room that loads PyTorch, so only who wants to predict waits for it."""
    predict = commands.add_parser(
        "predict",
        help="keypoints of pictures, videos and webcams",
        description="Find the joints of the people in pictures, folders of pictures, videos and webcams (until Ctrl-C): of "
        "one person per picture, or of those in given or detected boxes. Keypoints are written as a csv table or COCO's "
        "results, and drawn if wanted. Exit status 1: something couldn't be read; it is listed, the rest is done.",
    )
    if wanted:
        from gccpm_lib.cli import predict as room

        room.add_arguments(predict)
        predict.set_defaults(run=room.predict)


def _add_inspect(commands, wanted: bool) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="a predicted video as a page: frames, joints over time, jumps",
        description="Write a page, which works without network, of a video and the JSON that gccpm predict wrote of it: "
        "frames with their poses, every joint's x, y and score over time before and after smoothing, and the joints that "
        "jump.",
    )
    if wanted:
        from gccpm_lib.cli import inspect_video as room

        room.add_arguments(inspect)
        inspect.set_defaults(run=room.write_page)


def _add_lip_from_coco(commands, wanted: bool) -> None:
    lip = commands.add_parser(
        "lip-from-coco",
        help="LIP's pictures, cut from COCO's",
        description="Cut the train and val pictures of Look Into Person from COCO's, compare the labels of both, and list "
        "every person in LIP_HOME/lip_from_coco.csv. The same command goes on where it was stopped. Exit status 1: some "
        "persons couldn't be made; the csv says why.",
    )
    if wanted:
        from gccpm_lib.cli import lip_from_coco as room

        room.add_arguments(lip)
        lip.set_defaults(run=room.cut, advice="; the same command goes on")


def _add_verify(commands) -> None:
    verify = commands.add_parser(
        "verify",
        help="check a report against code, data, weights and its own files",
        description="Recompute of a report what can be recomputed in seconds, and say what differs (exit status 1).",
    )
    verify.add_argument("report", metavar="REPORT", help="a folder such as reports/sample")
    verify.add_argument(
        "--against", metavar="REPORT", help="compare with the numbers of this report instead, apart from times"
    )
    verify.set_defaults(run=_verify)


def _verify(options) -> int:
    with extra("lab"):
        from gccpm_lib.report import verify

    found = verify.compare(options.report, options.against) if options.against else verify.verify(options.report)
    for check in found:
        print(check.line())
    differing = sum(check.state == verify.DIFFERS for check in found)
    print(f"{differing} of {len(found)} checks differ" if differing else f"nothing differs in {len(found)} checks")
    return int(differing > 0)


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NOTEBOOK.PARAMETER=VALUE",
        help="override one parameter (the value is read as YAML; may be given again), "
        "for example 02_train_lip.base_lr=1e-4",
    )


def _add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--profile", default="sample", metavar="PROFILE", help="a name in notebooks/profiles/, or a YAML file's path"
    )


if __name__ == "__main__":
    sys.exit(main())
