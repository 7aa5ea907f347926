"""Several networks on the same people: scores, intervals and paired differences.

networks = {"mine": (network, recipe), "gccpm-2stage-leeds": (load_network(...), recipe_of(...))}
compare(networks, {"rendered": validation})
"""

from collections.abc import Mapping

import pandas as pd
from torch import nn

from gccpm_lib.evaluation import joint_errors
from gccpm_lib.evaluation.validation import Validation
from gccpm_lib.prediction.shared_passes import predict_settings
from gccpm_lib.recipes import Recipe
from gccpm_lib.skeletons import same_joints

SETTINGS = {"single scale": {}, "flip": {"flip": True}}


def compare(
    networks: Mapping[str, tuple[nn.Module, Recipe]], people: Mapping[str, Validation], device="auto", seed: int = 0
) -> pd.DataFrame:
    """A row per set of people, network and setting; the score that counts, percent of the limb joints found.

    "gain" is the difference to the first network in the same setting on the same people, every interval the middle 95 %
    of the bootstrap. Raises ValueError for a network with other joints than the people are labelled with.
    """
    rows = []
    for where, validation in people.items():
        first = None
        for name, (network, recipe) in networks.items():
            if not same_joints(recipe.skeleton.joints, validation.skeleton.joints):
                raise ValueError(f"{name} finds other joints than {where} is labelled with; compare it elsewhere")
            found = predict_settings(network, recipe, SETTINGS, validation.subjects, device)
            first = first or found
            for setting, poses in found.items():
                rows.append({"people": where, "network": name, "setting": setting, **_row(validation, poses, seed)})
                if poses is not first[setting]:
                    gain = validation.gain(poses, first[setting], seed)
                    rows[-1] |= dict(zip(("gain", "gain low", "gain high"), gain, strict=True))
    return pd.DataFrame(rows)


def as_table(compared: pd.DataFrame) -> pd.DataFrame:
    """The rows of `compare` to be read, by people, network and setting: one column for a number and its interval.

    The first network has no gain. What a narrow page may cut off stands last.
    """
    table = compared[["people", "network", "setting"]].copy()
    table[compared["metric"].iloc[0]] = _with_interval(compared, "score", "low", "high", "%.1f")
    if "gain" in compared:
        table["gain"] = _with_interval(compared, "gain", "gain low", "gain high", "%+.1f")
    table["limb joints found (%)"] = compared["limb joints found (%)"].map("{:.1f}".format)
    table["persons"] = compared["persons"]
    return table.set_index(["people", "network", "setting"])


def _with_interval(rows: pd.DataFrame, value: str, low: str, high: str, form: str) -> list[str]:
    """Such as 74.1 (72.6 to 75.8); "" where there is no value."""
    numbers = rows[[value, low, high]].itertuples(index=False)
    return ["" if pd.isna(own) else f"{form} ({form} to {form})" % (own, least, most) for own, least, most in numbers]


def _row(validation: Validation, poses, seed: int) -> dict:
    low, high = validation.intervals(poses, seed)[validation.main_score]
    errors = joint_errors.errors(validation.persons, validation.by_person(poses), validation.skeleton)
    return {
        "persons": len(validation.persons),
        "metric": validation.metric,
        "score": validation.scores(poses)[validation.main_score],
        "low": low,
        "high": high,
        "limb joints found (%)": joint_errors.limb_score(errors, validation.skeleton),
    }
