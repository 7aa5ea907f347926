"""The command line `gccpm` (also `python -m gccpm_lib`): run a profile's notebooks and publish their pages."""

import argparse
import sys

from gccpm_lib import __version__
from gccpm_lib.files import FolderBusy
from gccpm_lib.report import runner


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 a notebook failed or a check differs, 2 wrong input (one line says what), 3 folder in use."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except FolderBusy as error:
        print(f"gccpm: {error}", file=sys.stderr)
        return 3
    except (ValueError, OSError) as error:  # DataError is a ValueError
        print(f"gccpm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"gccpm: stopped{options.advice}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gccpm", description="Global Context for Convolutional Pose Machines.")
    parser.add_argument("--version", action="version", version=f"gccpm {__version__}")
    parser.set_defaults(advice="")  # what to say after Ctrl-C
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_reproduce(commands)
    _add_publish(commands)
    _add_predict(commands)
    _add_verify(commands)
    return parser


def _add_reproduce(commands) -> None:
    reproduce = commands.add_parser(
        "reproduce",
        help="run a profile's notebooks and publish the report",
        description="Run the notebooks of a profile that changed, and what depends on them, then publish the report to "
        "reports/PROFILE/index.html. Executed notebooks and working files go to runs/PROFILE/.",
    )
    _add_profile(reproduce)
    reproduce.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NOTEBOOK.PARAMETER=VALUE",
        help="override one parameter (the value is read as YAML; may be given again), "
        "for example 02_train_lip.base_lr=1e-4",
    )
    advice = "; the same command goes on with the notebook that was running"
    reproduce.set_defaults(run=lambda options: runner.reproduce(options.profile, options.set), advice=advice)


def _add_publish(commands) -> None:
    publish = commands.add_parser(
        "publish",
        help="write the report's pages again, without running",
        description="Write reports/PROFILE/*.html again from the notebooks that were last run.",
    )
    _add_profile(publish)
    publish.set_defaults(run=lambda options: runner.publish(options.profile))


def _add_predict(commands) -> None:
    from gccpm_lib.cli import predict as predict_command

    predict = commands.add_parser(
        "predict",
        help="keypoints of pictures, videos and webcams",
        description="Find the joints of the people in pictures, folders of pictures, videos and webcams (until Ctrl-C): of "
        "one person per picture, or of those in given or detected boxes. Keypoints are written as LIP's csv or COCO's "
        "results, and drawn if wanted. Exit status 1: something couldn't be read; it is listed, the rest is done.",
    )
    predict_command.add_arguments(predict)
    predict.set_defaults(run=predict_command.predict)


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
    from gccpm_lib.report import verify

    found = verify.compare(options.report, options.against) if options.against else verify.verify(options.report)
    for check in found:
        print(check.line())
    differing = sum(check.state == verify.DIFFERS for check in found)
    print(f"{differing} of {len(found)} checks differ" if differing else f"nothing differs in {len(found)} checks")
    return int(differing > 0)


def _add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--profile", default="sample", metavar="PROFILE", help="a name in notebooks/profiles/, or a YAML file's path"
    )


if __name__ == "__main__":
    sys.exit(main())
