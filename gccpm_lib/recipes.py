"""Recipes: every value that turns data into a trained network and a network into keypoints.

Three per data set. `published`: the released training code's effective behaviour, so that its numbers can be
reproduced. `corrected`: what its authors evidently meant. `modern`: today's practice for short budgets. Beside them
`coco-photographs` and `lip-photographs`: people of everyday pictures, cut off by the frame, small or blurred. A recipe is a
table of values: one code path reads it, `dataclasses.replace` makes the next experiment.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from gccpm_lib.skeletons import COCO, LIP, UNSURE, Skeleton, split_side

STRIDE = 8  # input pixels per heatmap cell

# What the published channel shuffle yields instead of the six permutations: its views alias (1/6 each).
DUPLICATED_CHANNELS = ((0, 1, 2), (0, 2, 2), (1, 1, 2), (1, 2, 1), (2, 2, 2), (2, 1, 2))
PERMUTED_CHANNELS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True)
class Recipe:
    """All values of one way to train and predict. Pixels are input (crop) pixels unless said otherwise."""

    name: str
    skeleton: Skeleton
    # the crop and its pixel values
    crop: str  # "letterbox": the whole picture is the person (LIP); "box": one crop per box (COCO)
    input_size: tuple[int, int]  # height, width
    channels: str  # "bgr" or "rgb", the order the network sees
    mean: tuple[float, float, float]  # subtracted from 0..255 values, in that order
    std: tuple[float, float, float]  # then divided by
    padding: int  # value outside the picture, 0..255
    # the network
    background: bool  # one more heatmap behind the joints: 1 - their maximum
    num_refinement_stages: int
    context: str | Callable  # before each refinement stage: "ushape" (published), "ppm", "aspp", "matched", "none", or own
    upsampling: str  # inside the context block: "bilinear" or "nearest"
    # augmentation
    rotation_degrees: float  # uniform in +-
    rotation_probability: float
    half_turn_probability: float  # turned by 180 degrees more: acrobats and divers are upside down
    canvas_grows: bool  # "letterbox": a turned picture is fitted whole, so the person shrinks; else corners are cut off
    scale_range: tuple[float, float]  # picture grows by a uniform factor ("box": the box grows)
    scale_probability: float
    scale_spread_from_box: bool  # published COCO: the box's size is taken for the spread of the scale
    flip_probability: float
    mirror_box_centre: bool  # published COCO flips the picture and leaves the box where it was
    half_body_probability: float  # crop upper or lower body of persons with more joints than the next value
    half_body_joints: int
    quadrangle_probability: float  # hide a filled quadrangle
    channel_shuffle_probability: float
    channel_orders: tuple[tuple[int, int, int], ...]
    # targets and loss
    targets: str  # "lip" or "coco": the formula in heatmaps.py
    sigma: float  # "lip": input pixels; "coco": heatmap cells
    whole_cells: bool  # "coco": the Gaussian sits on the nearest cell, not on the joint itself
    mask_missing: bool  # leave the maps of missing joints out of the loss
    loss: str  # "sum": squares / 2 / batch; "mean": half the mean square
    # optimiser and schedule
    optimizer: str  # "adam" or "adamw"
    base_lr: float
    weight_decay: float  # on non-depthwise convolution weights only
    refinement_lr_factor: float  # convolutions of the refinement stages
    bias_lr_factor: float  # biases of convolutions and batch normalisation
    frozen_layers: int  # first layers of the backbone that stay as they are, their statistics too; 5: up to stride 8
    train_cpm_norm: bool  # published LIP never trains weight and bias of the batch normalisation in `cpm`
    schedule: str  # "plateau" (LIP), "steps" (COCO), "cosine"
    steps: tuple[int, ...]  # "steps": epochs at which the rate falls to a tenth
    warmup: float  # "cosine": part of the training in which the rate rises from zero
    num_epochs: int
    batch_size: int
    ema_decay: float  # 0: the weights themselves are kept; else their moving average
    precision: str  # "float32"; "bfloat16", where the device computes in it; "float16", for GPUs that don't
    progressive: tuple[tuple[float, float], ...] = field(default=())  # (until this part of the epochs, factor on size)
    refinement_only: bool = False  # backbone, `cpm` and initial stage stay as they are, their statistics too
    # augmentation for everyday photographs
    cut_probability: float = 0.0  # the frame cuts the person: legs, one side, all but head and shoulders, or the top gone
    outside_counts: bool = False  # a labelled joint beyond crop or frame: its map is empty and counts in the loss
    box_jitter: float = 0.0  # each edge of the box moves by up to this part of its width or height; "letterbox": inwards
    degrade_probability: float = 0.0  # shrunk by a factor from 1.5 to 5 and grown again, as a small or blurred person is
    grey_probability: float = 0.0
    light_spread: float = 0.0  # brightness and contrast change by up to this part
    # inference
    decoder: str = "resize"  # "resize": argmax in the resized maps (LIP); "argmax", "quarter", "dark": in the cells
    sure_peak: float = UNSURE  # joints from this peak on are drawn as sure; a published network's own is calibrated

    @property
    def num_heatmaps(self) -> int:
        return self.skeleton.num_joints + self.background


LIP_PUBLISHED = Recipe(
    name="lip-published",
    skeleton=LIP,
    crop="letterbox",
    input_size=(256, 256),
    channels="bgr",
    mean=(128.0, 128.0, 128.0),
    std=(256.0, 256.0, 256.0),
    padding=128,
    background=True,
    num_refinement_stages=5,
    context="ushape",
    upsampling="bilinear",
    rotation_degrees=40.0,
    rotation_probability=1.0,
    half_turn_probability=0.0,
    canvas_grows=True,
    scale_range=(0.8, 1.5),
    scale_probability=0.5,
    scale_spread_from_box=False,
    flip_probability=0.5,
    mirror_box_centre=True,
    half_body_probability=0.0,
    half_body_joints=8,
    quadrangle_probability=0.5,
    channel_shuffle_probability=0.5,
    channel_orders=DUPLICATED_CHANNELS,
    targets="lip",
    sigma=7.0,
    whole_cells=False,
    mask_missing=False,
    loss="sum",
    optimizer="adam",
    base_lr=4e-5,
    weight_decay=5e-4,
    refinement_lr_factor=4.0,
    bias_lr_factor=2.0,
    frozen_layers=0,
    train_cpm_norm=False,
    schedule="plateau",
    steps=(),
    warmup=0.0,
    num_epochs=100,
    batch_size=32,
    ema_decay=0.0,
    precision="float32",
)

LIP_CORRECTED = replace(
    LIP_PUBLISHED,
    name="lip-corrected",
    channel_orders=PERMUTED_CHANNELS,
    train_cpm_norm=True,
)

LIP_MODERN = replace(
    LIP_CORRECTED,
    name="lip-modern",
    num_refinement_stages=1,
    canvas_grows=False,
    scale_range=(0.7, 1.3),
    scale_probability=1.0,
    quadrangle_probability=0.0,
    channel_shuffle_probability=0.0,
    mask_missing=True,
    optimizer="adamw",
    base_lr=1e-3,
    weight_decay=1e-2,
    refinement_lr_factor=1.0,
    bias_lr_factor=1.0,
    schedule="cosine",
    warmup=0.04,
    num_epochs=40,
    ema_decay=0.99,
    precision="bfloat16",
)

COCO_PUBLISHED = replace(
    LIP_PUBLISHED,
    name="coco-published",
    skeleton=COCO,
    crop="box",
    input_size=(384, 288),
    channels="rgb",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    padding=0,
    background=False,
    upsampling="nearest",
    rotation_degrees=0.0,
    rotation_probability=0.0,
    scale_range=(1.0, 1.0),
    scale_probability=1.0,
    scale_spread_from_box=True,
    mirror_box_centre=False,
    half_body_probability=0.0,
    targets="coco",
    sigma=3.0,
    whole_cells=True,
    mask_missing=True,
    loss="mean",
    base_lr=1e-3,
    weight_decay=0.0,
    refinement_lr_factor=1.0,
    bias_lr_factor=1.0,
    train_cpm_norm=True,
    schedule="steps",
    steps=(170, 200),
    num_epochs=210,
    decoder="argmax",
)

COCO_CORRECTED = replace(
    COCO_PUBLISHED,
    name="coco-corrected",
    rotation_degrees=45.0,
    rotation_probability=0.6,
    scale_range=(0.65, 1.35),
    scale_spread_from_box=False,
    mirror_box_centre=True,
    half_body_probability=0.3,
    channel_orders=PERMUTED_CHANNELS,
    decoder="quarter",
)

COCO_MODERN = replace(
    COCO_CORRECTED,
    name="coco-modern",
    num_refinement_stages=1,
    quadrangle_probability=0.0,
    channel_shuffle_probability=0.0,
    sigma=1.0,
    whole_cells=False,
    optimizer="adamw",
    weight_decay=1e-2,
    schedule="cosine",
    warmup=0.04,
    num_epochs=40,
    ema_decay=0.99,
    precision="bfloat16",
    decoder="dark",
)

# Goes on from a network of LIP's joints, and so keeps its pixel values and its resizing: they needn't be learned anew.
COCO_PHOTOGRAPHS = replace(
    COCO_MODERN,
    name="coco-photographs",
    input_size=(192, 144),
    channels="bgr",
    mean=(128.0, 128.0, 128.0),
    std=(256.0, 256.0, 256.0),
    padding=128,
    upsampling="bilinear",
    rotation_degrees=30.0,
    half_turn_probability=0.1,
    scale_range=(0.75, 1.25),
    half_body_probability=0.1,
    loss="sum",
    base_lr=5e-4,
    batch_size=8,
    frozen_layers=5,
    cut_probability=0.4,
    outside_counts=True,
    box_jitter=0.08,
    degrade_probability=0.25,
    grey_probability=0.15,
    light_spread=0.2,
)

# The same people in LIP's joints and in pictures of their own. Sideways and upside down as often as acrobats are.
LIP_PHOTOGRAPHS = replace(
    LIP_MODERN,
    name="lip-photographs",
    input_size=(192, 192),
    rotation_degrees=40.0,
    half_turn_probability=0.2,
    sigma=6.0,
    base_lr=8e-4,
    batch_size=16,
    frozen_layers=5,
    cut_probability=0.3,
    outside_counts=True,
    box_jitter=0.08,
    degrade_probability=0.2,
    grey_probability=0.15,
    light_spread=0.2,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        LIP_PUBLISHED, LIP_CORRECTED, LIP_MODERN, COCO_PUBLISHED, COCO_CORRECTED, COCO_MODERN, COCO_PHOTOGRAPHS,
        LIP_PHOTOGRAPHS,
    )
}  # fmt: skip


def get_recipe(name: str) -> Recipe:
    """Recipe by name, such as "lip-modern" or "LIP_MODERN"; ValueError naming the known ones otherwise."""
    key = name.lower().replace("_", "-")
    if key not in RECIPES:
        raise ValueError(f"recipe {name!r} is not known; known: {', '.join(RECIPES)}")
    return RECIPES[key]


def changes(recipe: Recipe) -> dict[str, object]:
    """The values in which a recipe differs from the one whose name it bears; the data set's joints aside."""
    own, named = asdict(recipe), asdict(get_recipe(recipe.name))
    return {name: value for name, value in own.items() if name != "skeleton" and value != named[name]}


def told_changes(recipe: Recipe) -> str:
    """`changes` in a line, such as "lip-modern with base_lr 0.002 (recipe: 0.001)"; "lip-modern as it is" without any."""
    named = get_recipe(recipe.name)
    told = [f"{name} {value} (recipe: {getattr(named, name)})" for name, value in changes(recipe).items()]
    return f"{recipe.name} with {', '.join(told)}" if told else f"{recipe.name} as it is"


def check_input_size(recipe: Recipe) -> None:
    """ValueError for an input size that isn't whole cells, or that the recipe's crop can't have."""
    size = recipe.input_size
    if len(size) != 2 or any(side <= 0 or side % STRIDE for side in size):
        raise ValueError(f"input_size {list(size)} must be height and width, multiples of {STRIDE} pixels")
    if recipe.crop == "letterbox" and size[0] != size[1]:
        raise ValueError(f"input_size {list(size)} must be a square with recipe {recipe.name}")


BACKGROUND = "background"


def map_names(recipe: Recipe) -> list[tuple[str, str]]:
    """What each heatmap is of, in order, as (side, rest of the joint's name)."""
    names = [split_side(joint) for joint in recipe.skeleton.joints]
    return names + ([("middle", BACKGROUND)] if recipe.background else [])
