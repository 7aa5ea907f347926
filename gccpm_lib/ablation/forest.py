"""A forest plot: differences with their intervals, one below the other, beside the line of no difference."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from gccpm_lib.ablation.comparison import Difference

RESOLVED, OPEN = "#1f5f8b", "#9a9a9a"


def forest(differences: Mapping[str, Difference], xlabel: str) -> Figure:
    """Name -> difference: a row each from the top, its 95 % interval as a bar, its seeds as small marks.

    Filled and blue where it is resolved, else hollow and grey.
    """
    figure = Figure(figsize=(7.5, 0.9 + 0.36 * len(differences)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color="#555555", lw=0.9)
    for row, d in enumerate(differences.values()):
        colour = RESOLVED if d.resolved else OPEN
        axis.plot([d.low, d.high], [row, row], color=colour, lw=2, solid_capstyle="butt")
        axis.plot(d.gain, row, "o", ms=7, color=colour, mfc=colour if d.resolved else "white")
        axis.plot(d.by_seed, [row + 0.28] * len(d.by_seed), "|", ms=5, color="#555555")
    axis.set_yticks(range(len(differences)), list(differences), fontsize=9)
    axis.set(ylim=(len(differences) - 0.4, -0.6), xlabel=xlabel)
    axis.grid(axis="x", alpha=0.3)
    return figure
