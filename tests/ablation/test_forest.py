"""The forest plot shows each difference where it is, and which are resolved."""

import numpy as np

from gccpm_lib.ablation.comparison import Difference
from gccpm_lib.ablation.forest import OPEN, RESOLVED, forest


def test_a_row_per_difference_with_interval_seeds_and_verdict():
    rows = {"a": Difference(2.0, 1.0, 3.0, (1.5, 2.5), 0.01), "b": Difference(-0.5, -2.0, 1.0, (0.5, -1.5), 0.6)}
    axis = forest(rows, "points").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"] and axis.yaxis_inverted()
    bars = [line for line in axis.lines if line.get_linewidth() == 2]
    np.testing.assert_allclose([bar.get_xdata() for bar in bars], [(1, 3), (-2, 1)])
    assert [bar.get_color() for bar in bars] == [RESOLVED, OPEN]
    seeds = [line.get_xdata() for line in axis.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(seeds, [(1.5, 2.5), (0.5, -1.5)])
