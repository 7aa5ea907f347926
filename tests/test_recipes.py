"""Recipes: the published values, and what the other two change."""

import dataclasses

import numpy as np
import pytest

from gccpm_lib import recipes
from gccpm_lib.recipes import (
    COCO_CORRECTED,
    COCO_MODERN,
    COCO_PHOTOGRAPHS,
    COCO_PUBLISHED,
    LIP_CORRECTED,
    LIP_MODERN,
    LIP_PHOTOGRAPHS,
    LIP_PUBLISHED,
    RECIPES,
    get_recipe,
)


def values(recipe, *names) -> tuple:
    return tuple(getattr(recipe, name) for name in names)


def changed(recipe, base) -> set[str]:
    return {f.name for f in dataclasses.fields(recipe) if getattr(recipe, f.name) != getattr(base, f.name)} - {"name"}


def test_lip_published_sees_bgr_around_128_in_256_pixels():
    assert values(LIP_PUBLISHED, "channels", "mean", "std", "padding") == ("bgr", (128,) * 3, (256,) * 3, 128)
    assert values(LIP_PUBLISHED, "input_size", "crop", "upsampling") == ((256, 256), "letterbox", "bilinear")
    assert values(LIP_PUBLISHED, "background", "num_heatmaps", "num_refinement_stages") == (True, 17, 5)


def test_lip_published_augments_as_published():
    assert values(LIP_PUBLISHED, "rotation_degrees", "rotation_probability") == (40, 1)
    assert values(LIP_PUBLISHED, "scale_range", "scale_probability", "flip_probability") == ((0.8, 1.5), 0.5, 0.5)
    assert values(LIP_PUBLISHED, "quadrangle_probability", "channel_shuffle_probability") == (0.5, 0.5)


def test_lip_published_trains_as_published():
    names = ("optimizer", "base_lr", "weight_decay", "refinement_lr_factor", "bias_lr_factor", "train_cpm_norm")
    assert values(LIP_PUBLISHED, *names) == ("adam", 4e-5, 5e-4, 4, 2, False)
    names = ("targets", "sigma", "mask_missing", "loss", "schedule", "num_epochs", "batch_size", "ema_decay", "precision")
    assert values(LIP_PUBLISHED, *names) == ("lip", 7, False, "sum", "plateau", 100, 32, 0, "float32")


def test_coco_published_is_as_published():
    names = ("channels", "padding", "input_size", "crop", "upsampling", "background", "num_heatmaps", "decoder")
    assert values(COCO_PUBLISHED, *names) == ("rgb", 0, (384, 288), "box", "nearest", False, 17, "argmax")
    np.testing.assert_allclose(np.array(COCO_PUBLISHED.mean) / 255, (0.485, 0.456, 0.406))
    np.testing.assert_allclose(np.array(COCO_PUBLISHED.std) / 255, (0.229, 0.224, 0.225))
    names = ("optimizer", "base_lr", "weight_decay", "schedule", "steps", "num_epochs", "batch_size", "loss", "sigma")
    assert values(COCO_PUBLISHED, *names) == ("adam", 1e-3, 0, "steps", (170, 200), 210, 32, "mean", 3)
    assert values(COCO_PUBLISHED, "refinement_lr_factor", "bias_lr_factor", "train_cpm_norm") == (1, 1, True)
    names = ("scale_spread_from_box", "mirror_box_centre", "half_body_probability", "rotation_probability")
    assert values(COCO_PUBLISHED, *names) == (True, False, 0, 0)
    assert values(COCO_PUBLISHED, "flip_probability", "quadrangle_probability") == (0.5, 0.5)


def test_corrected_recipes_change_the_defects_alone():
    assert changed(LIP_CORRECTED, LIP_PUBLISHED) == {"channel_orders", "train_cpm_norm"}
    assert changed(COCO_CORRECTED, COCO_PUBLISHED) == {
        "rotation_degrees", "rotation_probability", "scale_range", "scale_spread_from_box", "mirror_box_centre",
        "half_body_probability", "channel_orders", "decoder",
    }  # fmt: skip
    names = ("rotation_degrees", "rotation_probability", "half_body_probability", "half_body_joints", "scale_range")
    assert values(COCO_CORRECTED, *names) == (45, 0.6, 0.3, 8, (0.65, 1.35))


def test_modern_recipes_are_todays_practice():
    for recipe in (LIP_MODERN, COCO_MODERN):
        names = ("optimizer", "schedule", "mask_missing", "precision")
        assert (
            values(recipe, *names) == ("adamw", "cosine", True, "bfloat16") and recipe.ema_decay > 0 and recipe.warmup > 0
        )


def test_photographs_alone_are_cut_jittered_and_degraded():
    names = (
        "cut_probability", "outside_counts", "box_jitter", "degrade_probability", "grey_probability", "light_spread",
    )  # fmt: skip
    for recipe in RECIPES.values():
        assert any(values(recipe, *names)) == (recipe in (COCO_PHOTOGRAPHS, LIP_PHOTOGRAPHS))
    names = ("channels", "mean", "std", "padding", "upsampling")
    assert values(COCO_PHOTOGRAPHS, *names) == values(LIP_MODERN, *names)  # its start is a network of LIP's
    names = ("crop", "targets", "background", "decoder", "loss", "mask_missing")
    assert values(LIP_PHOTOGRAPHS, *names) == values(LIP_MODERN, *names)


def test_published_channel_orders_duplicate_and_corrected_ones_permute():
    assert ["".join(map(str, order)) for order in LIP_PUBLISHED.channel_orders] == "012 022 112 121 222 212".split()
    assert {tuple(sorted(order)) for order in LIP_CORRECTED.channel_orders} == {(0, 1, 2)}
    assert len(set(LIP_CORRECTED.channel_orders)) == 6


def test_recipes_are_found_by_either_name_and_unknown_ones_refused():
    three = {f"{d}-{v}" for d in ("lip", "coco") for v in ("published", "corrected", "modern")}
    assert set(RECIPES) == three | {"coco-photographs", "lip-photographs"}
    for name, recipe in RECIPES.items():
        constant = name.upper().replace("-", "_")
        assert get_recipe(name) is get_recipe(constant) is getattr(recipes, constant) is recipe and recipe.name == name
    with pytest.raises(ValueError, match=r"lip-best.*known.*lip-modern"):
        get_recipe("lip-best")


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LIP_MODERN.sigma = 5.0
