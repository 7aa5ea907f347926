"""What the rendered people wear: random colours, cloths and outfits.

Colours are BGR floats in 0..255; lengths are metres on the body model's template.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SKIN = np.array([(172, 192, 232), (150, 176, 222), (130, 160, 212), (106, 140, 196), (82, 116, 178), (62, 94, 152),
                 (46, 72, 120), (36, 54, 92)], float)  # fmt: skip
HAIR = np.array([(22, 20, 20), (30, 34, 44), (38, 52, 78), (52, 78, 118), (80, 124, 170), (110, 160, 205),
                 (40, 70, 140), (150, 150, 152), (205, 205, 208)], float)  # fmt: skip
NEUTRALS = np.array([(30, 28, 28), (60, 58, 56), (110, 108, 106), (170, 170, 170), (232, 234, 236), (88, 48, 28),
                     (120, 84, 48), (140, 110, 84), (60, 80, 110), (90, 130, 165)], float)  # fmt: skip
PATTERNS = ("plain", "hoops", "stripes", "checks", "print", "blocks", "mottled")


@dataclass(frozen=True, eq=False)
class Fabric:
    """A colour, a second colour, how the two alternate, and over what length (metres)."""

    pattern: str
    colour: np.ndarray
    second: np.ndarray
    period: float
    tile: np.ndarray  # (64, 64) smooth random numbers, for prints and folds


@dataclass(frozen=True, eq=False)
class Outfit:
    """All that one person wears; lengths along arm and leg as in ARM_T and LEG_T, heights as the template's z."""

    skin: np.ndarray
    hair: np.ndarray
    hair_style: str  # none, balding, short, thick, bob, long, ponytail, bun, cap
    brow: np.ndarray
    beard: float  # 0 none .. 1 full
    shirt: Fabric
    sleeve: float  # negative: sleeveless
    neckline: float
    hem: float
    inner: Fabric | None  # seen where a jacket is open
    opening: float  # half width of the jacket's opening, metres
    tie: np.ndarray | None
    trousers: Fabric
    leg: float
    waist: float
    skirt: Fabric | None
    skirt_length: float
    shoe: np.ndarray
    shoe_top: float
    socks: np.ndarray | None
    looseness: float  # how far the clothes stand off the body, metres


def draw_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) a cloth colour: neutrals and denims about as often as any hue."""
    if rng.random() < 0.5:
        return np.clip(NEUTRALS[rng.integers(len(NEUTRALS))] + rng.normal(0, 10, 3), 8, 250)
    hsv = np.array([[[rng.integers(180), rng.integers(70, 235), rng.integers(60, 245)]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(float)


def draw_fabric(rng: np.random.Generator, plain: float = 0.4) -> Fabric:
    """A random fabric: its colours and its pattern."""
    pattern = "plain" if rng.random() < plain else str(rng.choice(PATTERNS[1:]))
    tile = cv2.GaussianBlur(rng.normal(size=(64, 64)).astype(np.float32), (0, 0), 3, borderType=cv2.BORDER_REFLECT_101)
    tile = tile / tile.std()
    return Fabric(pattern, draw_colour(rng), draw_colour(rng), float(rng.uniform(0.025, 0.11)), tile)


def draw_outfit(rng: np.random.Generator, woman: float, age: float) -> Outfit:
    """Random clothes, skin and hair for one person; age 0 to 1 as the body model counts it."""
    female = rng.random() < woman
    shirt, trousers = draw_fabric(rng), draw_fabric(rng, plain=0.75)
    jacket, skirted = rng.random() < 0.3, female and rng.random() < 0.4
    skin = SKIN[rng.integers(len(SKIN) - 1)]
    other = SKIN[rng.integers(len(SKIN))]
    skin = np.clip(skin + 0.3 * rng.uniform() * (other - skin) + rng.normal(0, 5, 3), 20, 250)
    hair = HAIR[rng.integers(len(HAIR) - (2 if age < 0.75 else 0))] * rng.uniform(0.75, 1.15)
    if female:
        style = rng.choice(
            ["short", "bob", "long", "ponytail", "bun", "cap", "thick"], p=[0.12, 0.2, 0.3, 0.15, 0.1, 0.05, 0.08]
        )
    else:
        style = rng.choice(["none", "balding", "short", "thick", "long", "cap"], p=[0.07, 0.1, 0.52, 0.1, 0.06, 0.15])
    return Outfit(
        skin=skin,
        hair=hair,
        hair_style=str(style),
        brow=hair * 0.6,
        beard=0.0 if female or rng.random() < 0.65 else float(rng.uniform(0.4, 1)),
        shirt=shirt,
        sleeve=float(
            rng.uniform(1.85, 2.0)
            if jacket
            else rng.choice([-1, 0.3, 0.5, 0.65, 1.1, 1.5, 1.93], p=[0.1, 0.1, 0.22, 0.1, 0.06, 0.07, 0.35])
        ),
        neckline=float(rng.uniform(-0.03, 0.12) if not jacket else rng.uniform(-0.02, 0.03)),
        hem=float(rng.uniform(-0.06, 0.12)),
        inner=draw_fabric(rng, plain=0.7) if jacket and rng.random() < 0.7 else None,
        opening=float(rng.uniform(0.02, 0.07)),
        tie=draw_colour(rng) if jacket and not female and rng.random() < 0.3 else None,
        trousers=trousers,
        leg=float(rng.choice([0.4, 0.55, 0.8, 0.95, 1.5, 1.97], p=[0.06, 0.1, 0.12, 0.05, 0.07, 0.6])),
        waist=float(rng.uniform(0.05, 0.13)),
        skirt=(shirt if rng.random() < 0.45 else draw_fabric(rng, plain=0.5)) if skirted else None,
        skirt_length=float(rng.uniform(0.5, 1.75)),
        shoe=draw_colour(rng),
        shoe_top=float(rng.choice([1.94, 1.85, 1.6, 1.3], p=[0.65, 0.17, 0.1, 0.08])),
        socks=draw_colour(rng) if rng.random() < 0.3 else None,
        looseness=float(rng.uniform(0.004, 0.022)),
    )
