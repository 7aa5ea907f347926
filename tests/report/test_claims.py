"""Claims: a verdict follows from the number under it, and the committed page says what the reports say."""

import json
import re
from pathlib import Path

import pytest

from gccpm_lib.report import claims
from gccpm_lib.report.claims import CONTRADICTED, NOT_RUN, OPEN, PARTLY, REPRODUCED, Number

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.mark.parametrize(
    ("value", "low", "high", "expect", "verdict"),
    [
        (4.6, 3.9, 5.3, "> 0", REPRODUCED),
        (0.1, -0.3, 0.5, "> 0", OPEN),
        (-1.9, -2.3, -1.4, "> 0", CONTRADICTED),
        (0.4, 0.0, 0.9, "> 0", OPEN),  # zero isn't above zero
        (21, 20, 22, ">= 20", REPRODUCED),
        (15, 15, 15, ">= 20", CONTRADICTED),
        (11.0048, 11.0048, 11.0048, "== 11.00", REPRODUCED),
        (11.0051, 11.0051, 11.0051, "== 11.00", CONTRADICTED),
    ],
)
def test_a_verdict_is_where_the_interval_lies(value, low, high, expect, verdict):
    assert Number("w", value, low, high, "points", expect).verdict() == verdict


@pytest.mark.parametrize(
    ("single", "differs", "verdict"),
    [
        ([], False, NOT_RUN),
        (["> 0"], False, REPRODUCED),
        (["> 0"], True, PARTLY),  # another experiment than the claim's own never reproduces it
        (["> 0", "> 9"], False, PARTLY),
        (["> 9"], False, CONTRADICTED),
        (["> 5"], False, OPEN),
        (["> 5", "> 9"], False, OPEN),
    ],
)
def test_the_verdict_of_a_claim(single, differs, verdict):
    numbers = [Number("w", 5, 4, 6, "points", expect) for expect in single]
    assert claims.verdict({"differs": "smaller"} if differs else {}, numbers) == verdict


@pytest.mark.parametrize(("told", "verdict"), [("better", REPRODUCED), ("worse", CONTRADICTED), ("not resolved", OPEN)])
def test_of_many_differences_the_corrected_verdict_counts(tmp_path, told, verdict):
    """The interval alone leaves zero out; after Holm's correction it may be open all the same."""
    row = {"gain": 1.25, "low": 0.5, "high": 2.0, "p": 0.0421, "verdict": told}
    write_report(tmp_path, {"gains": {"x": row}})
    number = claims.judged({"measured": [entry()]}, tmp_path)["numbers"][0]
    assert number.verdict() == verdict and number.text() == "+1.2 points (0.5 to 2.0), p 0.042 after Holm"


def write_report(folder: Path, metrics: dict) -> None:
    (folder / "mine").mkdir()
    summary = {"notebooks": {"05": {"metrics": metrics}}, "provenance": {"cpu": "A & B"}}
    (folder / "mine" / "metrics.json").write_text(json.dumps(summary))


def entry(**changes) -> dict:
    given = {"what": "a <b> c", "report": "mine", "page": "05", "path": ["gains", "x"], "as": "points", "expect": "> 0"}
    return given | changes


def test_numbers_come_from_the_reports(tmp_path):
    write_report(tmp_path, {"gains": {"x": [1.25, 0.5, 2]}, "s": [[{"n": "A", "k": 1, "ms": 50.0}], [{"n": "A", "k": 2}]]})
    judged = claims.judged({"measured": [entry()]}, tmp_path)
    assert judged["verdict"] == REPRODUCED and judged["numbers"][0].text() == "+1.2 points (0.5 to 2.0)"
    quick = {"n": "A", "k": 1}
    assert claims.value_at({"s": [[{"n": "A", "k": 1, "ms": 50.0}], [{"n": "A", "k": 2}]]}, ["s", quick], "w")["ms"] == 50.0
    assert claims.judged({"measured": [entry(report="other")]}, tmp_path)["verdict"] == NOT_RUN
    with pytest.raises(ValueError, match=r"a <b> c: no 'y' in the metrics; known: x"):
        claims.judged({"measured": [entry(path=["gains", "y"])]}, tmp_path)
    with pytest.raises(ValueError, match="2 entries have"):
        claims.judged({"measured": [entry(path=["s", {"n": "A"}])]}, tmp_path)


def test_counted_numbers_are_those_of_the_network():
    counted = [{"what": "w", "num_refinement_stages": 1, "number": "parameters", "expect": "== 11.00"}]
    judged = claims.judged({"counted": counted}, REPORTS)
    assert judged["verdict"] == REPRODUCED and judged["numbers"][0].text() == "11.00"


def test_what_a_training_would_take_is_the_estimate():
    assert "54 hours on one P100" in claims.needs({"training": "LIP"}) and claims.needs({}) == ""


def test_names_on_the_page_are_text(tmp_path):
    write_report(tmp_path, {"gains": {"x": [1, 0.5, 2]}})
    text = {"claim": "<script>alert(1)</script>", "source": "<i>", "command": "<b>", "measured": [entry()]}
    (tmp_path / "claims.yaml").write_text(json.dumps({"claims": [text]}))
    page = claims.publish_claims(tmp_path).read_text()
    assert "<script" not in page and "a &lt;b&gt; c" in page and "A &amp; B" in page


def test_the_committed_page_is_what_the_committed_reports_say():
    assert claims.claims_page(REPORTS) == (REPORTS / "claims.html").read_text(), "gccpm publish writes it again"


def test_every_command_names_a_profile_or_command_that_exists():
    text = (REPORTS / "claims.yaml").read_text()
    names = set(re.findall(r"--profile (\w+)", text))
    assert names and all((REPORTS.parent / "notebooks" / "profiles" / f"{name}.yaml").exists() for name in names)
