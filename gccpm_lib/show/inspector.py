"""The keypoint inspector: people judge a pose model by looking.

    from gccpm_lib.show.inspector import inspect

    inspect(persons, skeleton, {"PyTorch": found, "INT8": quantised}, predictor.heatmaps, "runs/sample/marked.csv")

Live in JupyterLab it pages through any number of pictures, read one at a time from disk. In a report, which has no
kernel, the same JavaScript shows the examples that the notebook's output carries (`pages`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gccpm_lib.datasets.records import Person
from gccpm_lib.extras import extra
from gccpm_lib.show import inspector_data, inspector_files, label_editor
from gccpm_lib.show.inspector_data import Collection, Heatmaps
from gccpm_lib.show.inspector_files import INSPECTOR_TYPE, STILL
from gccpm_lib.show.inspector_still import still_png
from gccpm_lib.show.label_editor import LabelEditor
from gccpm_lib.skeletons import Skeleton

with extra("lab"):
    import anywidget
    import traitlets

SIDE_LIMIT = 2048  # pixels of the largest picture sent


class Inspector(anywidget.AnyWidget):
    """The widget that `inspect` gives. Only marks and place are synchronised; all else is sent when it is looked at."""

    _esm = inspector_files.module_text()
    _css = inspector_files.style_text()
    marked = traitlets.List(traitlets.Int(), help="rows (from 0) of persons with a suspicious label").tag(sync=True)
    row = traitlets.Int(None, allow_none=True, help="row (from 0) of the person that is shown").tag(sync=True)
    marked_csv = traitlets.Unicode("", help="file that the marks are written to").tag(sync=True)
    corrections_csv = traitlets.Unicode("", help="file that corrected labels are written to; empty: none").tag(sync=True)
    corrector = traitlets.Unicode("", help="who corrects, as the file says it").tag(sync=True)

    def __init__(
        self,
        collection: Collection,
        marked_csv: str | Path | None,
        report_limit_bytes: int,
        corrections_csv: str | Path | None = None,
    ):
        marked, self._others = inspector_data.read_marked(Path(marked_csv), collection.persons) if marked_csv else ([], [])
        self.editor = LabelEditor(collection, corrections_csv) if corrections_csv else None
        files = {"marked_csv": str(marked_csv or ""), "corrections_csv": str(corrections_csv or "")}
        super().__init__(marked=marked, corrector=label_editor.user_name() if self.editor else "", **files)
        self.collection, self.report_limit_bytes = collection, report_limit_bytes
        self.on_msg(self._answer)
        self.observe(self._write_marked, "marked")

    def report_data(self) -> dict:
        """What a report shows in place of the live widget, see `inspector_data.report_data`."""
        data = inspector_data.report_data(self.collection, self.report_limit_bytes)
        return {**data, **(self.editor.table() if self.editor else {})}

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        plain = f"Keypoint inspector of {len(self.collection.persons):,} persons; run the cell to use it"
        return {**data, "text/plain": plain, INSPECTOR_TYPE: self.report_data()}, metadata

    def _ipython_display_(self, **kwargs) -> None:
        """The widget, and behind it an output of its own with a still picture, which the live widget hides (inspector.css).

        JupyterLab has no second choice for a widget that is gone: a PNG in the widget's own output would never be seen.
        """
        from IPython.display import Image, display

        data, metadata = self._repr_mimebundle_(**kwargs)
        display(data, metadata=metadata, raw=True)
        if still := still_png(self.collection):
            display(Image(data=still, format="png", alt=data["text/plain"], metadata={STILL: True}))

    def _write_marked(self, _change) -> None:
        if self.marked_csv:
            inspector_data.write_marked(Path(self.marked_csv), self.collection.persons, self.marked, self._others)

    def _answer(self, _widget, request: Mapping, _buffers) -> None:
        """Every request has an id and gets one reply with it, also where something goes wrong: the page tells what."""
        try:
            content, buffers = answer(self.collection, request, self.editor)
        except Exception as error:
            content, buffers = {"problem": str(error)}, []
        self.send({**content, "id": request.get("id")}, buffers)


def answer(collection: Collection, request: Mapping, editor: LabelEditor | None = None) -> tuple[dict, list[bytes]]:
    """A message of the live inspector -> reply and its buffers.

    {kind: "table"}; {kind: "pictures", rows, side}: JPEG and joints of each in turn; {kind: "heatmap", row}: PNG; and, with
    an editor, those of `LabelEditor.answer`.
    """
    kind = request["kind"]
    if kind == "table":
        content, arrays = inspector_data.table(collection, range(len(collection.persons)))
        return {**content, **(editor.table() if editor else {})}, list(arrays.values())
    if kind == "pictures":
        side = min(int(request["side"]), SIDE_LIMIT)
        found = [inspector_data.picture(collection, int(row), side) for row in request["rows"]]
        return {"pictures": [about for about, _, _ in found]}, [data for _, *both in found for data in both]
    if kind == "heatmap":
        content, png = inspector_data.heatmap(collection, int(request["row"]))
        return content, [png]
    if kind in ("correct", "undo") and editor:
        return editor.answer(request)
    raise ValueError(f"request {kind!r} is not known; known: 'table', 'pictures', 'heatmap', 'correct', 'undo'")


def inspect(
    persons: Sequence[Person],
    skeleton: Skeleton,
    predictions: np.ndarray | Mapping[str, np.ndarray] | None = None,
    heatmaps: Heatmaps | None = None,
    marked_csv: str | Path | None = None,
    report_limit_bytes: int = 700_000,
    suspicious: pd.DataFrame | None = None,
    corrections_csv: str | Path | None = None,
) -> Inspector:
    """Look at persons, their labels and predictions, and mend labels. Let it be a cell's last expression, or `display` it.

    predictions: (N, K, 3) x, y in picture pixels and score, or a dict of such arrays ("PyTorch", "INT8"), nan where nothing
    was detected. heatmaps: person -> maps (K, h, w) and the (2, 3) cell -> picture, as `PosePredictor.heatmaps` gives them
    when they are looked at. marked_csv: marked labels go there, and marks found there are shown again. report_limit_bytes:
    size of the examples in the notebook's output. suspicious: rows (from 1), joints and problems, as `layouts.check_labels`
    and `label_cleaning.changes` give them: these persons come first. corrections_csv: labels can be corrected, and what is
    corrected goes there, see `datasets.corrections`. Errors as `inspector_data.collect`, `read_marked`, `LabelEditor`.
    """
    collection = inspector_data.collect(persons, skeleton, predictions, heatmaps, suspicious)
    return Inspector(collection, marked_csv, report_limit_bytes, corrections_csv)
