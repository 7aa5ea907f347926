"""The ablation of the context block: one training, repeated with other blocks, depths and seeds, and fair comparisons.

    variants = make_variants(["none", "ushape"], depths=[0, 1])
    train_cells(base, variants, seeds=[0, 1])  # a cell of the table that is finished already isn't trained again

A cell is a variant trained from a seed. Cells of one seed see the same persons in the same order with the same
augmentation, and start from the same weights wherever they have the same layers. Errors are in tolerances
(joint_errors.py), (S, N, K) for S seeds, N persons and K joints; nan where a joint isn't scored.
"""

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gccpm_lib import checkpoints
from gccpm_lib.ablation.shared_start import SharedStart
from gccpm_lib.datasets.records import Person
from gccpm_lib.evaluation import bootstrap, joint_errors, pckh
from gccpm_lib.network import GCCPM, Context, context_name, count_macs, count_parameters
from gccpm_lib.prediction.predictor import PosePredictor
from gccpm_lib.recipes import Recipe
from gccpm_lib.skeletons import LIP, Skeleton
from gccpm_lib.timing import interleaved
from gccpm_lib.training.loop import train
from gccpm_lib.training.run import Run
from gccpm_lib.training.start import start_network

LEVEL = 0.05  # how often a whole table of differences may call one resolved that is chance in the choice of images
JUDGED_FROM = 1000  # optimiser steps of a cell; fewer show how it is done, and what is better is not judged by them
NO_REFINEMENT = "no refinement"
BLOCKS = ("none", "matched", "ppm", "aspp", "ushape")
REPEATS = 10_000  # draws: a table of many comparisons asks for p-values far below LEVEL


@dataclass(frozen=True)
class Variant:
    """One network of the comparison."""

    context: Context
    num_refinement_stages: int

    @property
    def name(self) -> str:
        """Such as "ushape 1": the block and the number of refinement stages."""
        return f"{context_name(self.context)} {self.num_refinement_stages}" if self.num_refinement_stages else NO_REFINEMENT


def make_variants(
    contexts: Sequence[Context], depths: Sequence[int], deep_contexts: Sequence[Context] | None = None
) -> list[Variant]:
    """Every context at every depth; from depth 2 on deep_contexts alone, None: all. Depth 0, without context, once."""
    deep = contexts if deep_contexts is None else [context for context in contexts if context in deep_contexts]
    variants = [Variant(c, depth) for depth in sorted(depths) if depth for c in (contexts if depth == 1 else deep)]
    return [Variant("none", 0)] * (0 in depths) + variants


def cell_run(base: Run, variant: Variant, seed: int) -> Run:
    """The training of one cell, in a folder of its own inside base's."""
    folder = Path(base.output_folder) / f"{context_name(variant.context)}_{variant.num_refinement_stages}_seed{seed}"
    return replace(
        base,
        context=variant.context,
        num_refinement_stages=variant.num_refinement_stages,
        seed=seed,
        output_folder=str(folder),
        frozen_folder=str(Path(base.output_folder) / "frozen") if base.refinement_only else "",
    )


def train_cells(
    base: Run, variants: Sequence[Variant], seeds: Sequence[int], say: Callable[[str], None] = print
) -> dict[tuple[Variant, int], list[dict]]:
    """Train every cell that isn't finished; returns their histories. Seed by seed, so that an early look is a fair one.

    Without a refinement stage nothing is left to train where the refinement stages alone are: such a cell is no training.
    """
    histories = {}
    for seed in seeds:
        for variant in variants:
            if variant.num_refinement_stages or not base.refinement_only:
                say(f"{variant.name}, seed {seed}")
                histories[variant, seed] = train(cell_run(base, variant, seed), say)
    return histories


def cell_network(base: Run, variant: Variant, seed: int) -> GCCPM:
    """The finished network of a cell, in eval mode."""
    run = cell_run(base, variant, seed)
    if base.refinement_only and not variant.num_refinement_stages:
        run = replace(run, refinement_only=False, frozen_folder="")
        return start_network(run, run.full_recipe()).eval()
    own = variant.context if callable(variant.context) else None
    return checkpoints.load_network(run.checkpoint_file, context=own)


def predictor(base: Run, variant: Variant, seed: int, known: dict | None = None) -> PosePredictor:
    """The finished network of a cell, ready to predict.

    known: where the refinement stages alone were trained, what stands before them is kept there for the next cells and
    pictures that come again; then all is computed in the recipe's precision, as in training. None: in float32.
    """
    network, file = cell_network(base, variant, seed), cell_run(base, variant, seed).checkpoint_file
    recipe = checkpoints.recipe_of(file) if file.exists() else base.full_recipe()
    if known is None or not base.refinement_only:
        return PosePredictor(network, recipe, device=base.device)
    return PosePredictor(SharedStart(network, recipe, known, base.device), recipe)


def costs(variants: Sequence[Variant], recipe: Recipe, rounds: int = 15) -> pd.DataFrame:
    """By variant: parameters and multiply-accumulates (counted) and latency of one crop (measured, float32, CPU).

    Columns parameters (M), GMAC, latency_ms (median), spread_ms (distance of the quartiles). The variants take turns.
    """
    rows, passes = {}, {}
    x = torch.zeros(1, 3, *recipe.input_size).to(memory_format=torch.channels_last)
    for variant in variants:
        network = GCCPM(
            recipe.num_heatmaps, variant.num_refinement_stages, context=variant.context, upsampling=recipe.upsampling
        )
        macs = count_macs(network, recipe.input_size) / 1e9
        rows[variant.name] = {"parameters (M)": count_parameters(network) / 1e6, "GMAC": macs}
        network = network.to(memory_format=torch.channels_last).eval()
        passes[variant.name] = lambda network=network: network(x)
    with torch.inference_mode():
        seconds = interleaved(passes, rounds)
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles(times, n=4)
        rows[name] |= {"latency_ms": 1e3 * middle, "spread_ms": 1e3 * (high - low)}
    return pd.DataFrame(rows).T


# ------------------------------------------------------------------------------------------------ comparing


@dataclass(frozen=True)
class Difference:
    """How much more of the joints one variant finds than another, in percentage points, over the same persons."""

    gain: float
    low: float  # 95 % bootstrap interval over images, with all persons and seeds of an image; of this difference alone
    high: float
    by_seed: tuple[float, ...]
    p_value: float  # of no difference, over images; `corrected` adjusts it for the number of comparisons

    @property
    def resolved(self) -> bool:
        """The p-value is below LEVEL and every seed has the sign of the gain: neither images nor seeds alone explain it."""
        return self.p_value < LEVEL and all(gain * self.gain > 0 for gain in self.by_seed)

    @property
    def verdict(self) -> str:
        return ("better" if self.gain > 0 else "worse") if self.resolved else "not resolved"

    @property
    def text(self) -> str:
        """Such as "+1.2 (-0.3 to +2.6)"."""
        return f"{self.gain:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def scored_joints(skeleton: Skeleton) -> list[int]:
    """Joints that count: with LIP those of PCKh's average (neither pelvis nor spine), else all."""
    return list(pckh.AVERAGE) if skeleton.joints == LIP.joints else list(range(skeleton.num_joints))


def cell_errors(persons: Sequence[Person], found: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Predictions (N, K, >=2) -> errors (N, K) in tolerances, nan for joints that don't count.

    The share within 1 is PCKh@0.5 Avg. with LIP; with COCO it is that of the joints with a similarity of 0.5 or more.
    """
    errors = joint_errors.errors(persons, found, skeleton)
    left_out = np.setdiff1d(np.arange(skeleton.num_joints), scored_joints(skeleton))
    errors[:, left_out] = np.nan
    return errors


def pooled_percent(errors: np.ndarray) -> float:
    """Percent of the scored joints within 1, pooled over every axis; nan where none is scored."""
    scored = ~np.isnan(errors)
    return float(100 * (errors[scored] <= 1).mean()) if scored.any() else float("nan")


def difference(
    errors: np.ndarray, baseline: np.ndarray, images: np.ndarray | None = None, seed: int = 0, repeats: int = REPEATS
) -> Difference:
    """Errors of two variants, (S, N, K) both, on the same persons -> their paired difference, its p-value as it is.

    Images are drawn with replacement and bring along the joints of their persons in all seeds; images (N,) as
    `bootstrap.images_of` gives them, None: one person each. Joints that are scored in one of the two alone count in
    neither. nan throughout where nothing is scored.
    """
    unscored = np.isnan(errors) | np.isnan(baseline)
    ours, theirs = (np.where(unscored, np.nan, e) for e in (errors, baseline))
    by_seed = tuple(pooled_percent(a) - pooled_percent(b) for a, b in zip(ours, theirs, strict=True))
    if unscored.all():
        return Difference(np.nan, np.nan, np.nan, by_seed, np.nan)
    flat = [e.transpose(1, 0, 2).reshape(e.shape[1], -1) for e in (ours, theirs)]  # (N, S K)
    joints = range(flat[0].shape[1])
    gain, drawn = pckh.paired_draws(*flat, joints, threshold=1.0, repeats=repeats, seed=seed, images=images)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Difference(gain, float(low), float(high), by_seed, bootstrap.p_value(drawn))


def corrected(differences: Mapping[Hashable, Difference]) -> dict[Hashable, Difference]:
    """All differences of one table -> the same with their p-values adjusted for how many they are, after Holm."""
    adjusted = bootstrap.holm([d.p_value for d in differences.values()])
    return {key: replace(d, p_value=float(p)) for (key, d), p in zip(differences.items(), adjusted, strict=True)}


def comparisons(variants: Sequence[Variant]) -> list[tuple[Variant, Variant]]:
    """The pairs that the paper's claims are about, and no others, since each one more weakens all after Holm's correction:
    the published block (and one's own) against each other block of its depth, and it and "none" against one stage less."""
    known, pairs = set(variants), []
    for v in sorted(variants, key=lambda v: v.context == "none"):  # the question first
        context, depth = v.context, v.num_refinement_stages
        others = BLOCKS if context == "ushape" else ("none", "ushape") if callable(context) else ()
        pairs += [(v, Variant(other, depth)) for other in others if other != context]
        if context in ("ushape", "none"):
            pairs += [(v, Variant(context if depth > 1 else "none", depth - 1))] * (depth > 0)
    return [pair for pair in pairs if pair[1] in known]


def difference_table(differences: dict) -> pd.DataFrame:
    """A row per difference: gain, interval, the seeds' own gains, p-value, verdict. Keys are names or pairs of names."""
    return pd.DataFrame(
        {
            key if isinstance(key, str) else " against ".join(key): {
                "gain": d.gain,
                "low": d.low,
                "high": d.high,
                **{f"seed {i}": gain for i, gain in enumerate(d.by_seed)},
                "p": d.p_value,
                "verdict": d.verdict,
            }
            for key, d in differences.items()
        }
    ).T.infer_objects()


def table(errors: dict[str, np.ndarray]) -> pd.DataFrame:
    """By variant: percent found over all seeds, of each seed, and the largest distance between two seeds."""
    rows = {}
    for name, these in errors.items():
        by_seed = [pooled_percent(e) for e in these]
        seeds = {f"seed {i}": score for i, score in enumerate(by_seed)}
        rows[name] = {"found (%)": pooled_percent(these), **seeds, "seed spread": max(by_seed) - min(by_seed)}
    return pd.DataFrame(rows).T


def groups(persons: Sequence[Person], skeleton: Skeleton) -> dict[str, np.ndarray]:
    """Where context should matter: name -> mask (N, K) of joints. Groups without a joint are left out.

    Visible and occluded joints by their labels; and joints of persons with all joints labelled or with some missing, which
    is what a body cut off by the picture's edge looks like in the labels.
    """
    labels = np.stack([person.keypoints[:, 2] for person in persons])  # (N, K)
    whole = (labels[:, scored_joints(skeleton)] > 0).all(axis=1, keepdims=True)
    masks = {
        "visible joints": labels == 2,
        "occluded joints": labels == 1,
        "persons with all joints": (labels > 0) & whole,
        "persons with joints missing": (labels > 0) & ~whole,
    }
    return {name: mask for name, mask in masks.items() if mask.any()}


def within(errors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Errors (S, N, K) with everything outside the mask (N, K) not scored."""
    return np.where(mask, errors, np.nan)


def most_different(errors: np.ndarray, baseline: np.ndarray, count: int) -> np.ndarray:
    """The persons of whom errors' variant finds the most more joints than baseline's, over all seeds: up to count rows."""
    gain = ((errors <= 1).sum(axis=(0, 2)) - (baseline <= 1).sum(axis=(0, 2))).astype(int)
    order = np.argsort(-gain, kind="stable")[:count]
    return order[gain[order] > 0]
