"""`gccpm lip-from-coco`: LIP's pictures cut from COCO's, and what became of every person."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `gccpm lip-from-coco`."""
    add = parser.add_argument
    add("--coco", required=True, metavar="F", help="COCO's folder: train2017, val2017, annotations (or 2014's names)")
    add("--labels", metavar="FOLDER", help="LIP's lip_train_set.csv, lip_val_set.csv; default: in the output folder")
    add("--output", required=True, metavar="LIP_HOME", help="where LIP's layout is written")
    add("--partial", action="store_true", help="make what the parts of COCO that are there allow")
    add("--lossless", action="store_true", help="PNG content under LIP's names, twice the bytes")


def cut(options: argparse.Namespace) -> int:
    """Exit status: 0 all persons made, 1 some couldn't be (told by kind; lip_from_coco.csv in the output lists each)."""
    from gccpm_lib.datasets import lip_from_coco

    rebuilt = lip_from_coco(
        options.coco, options.output, options.labels, partial=options.partial, lossless=options.lossless
    )
    print("\n".join(rebuilt.summary()))
    return int(not rebuilt.table["made"].all())
