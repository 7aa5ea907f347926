"""The site: what is remembered of headline numbers, how they moved, and the page that compares the reports."""

import json

import pytest
from bs4 import BeautifulSoup

from gccpm_lib.report import site


def summary(value, date="2026-01-01T10:00:00+00:00", label="AP (%)", **more):
    return {
        "date": date,
        "provenance": {"commit": "c" * 40, "cpu": "A Processor"},
        "notebooks": {"04": {"headline": {label: value}}, "01": {"headline": {}}},
        **more,
    }


def write_report(reports, name, content):
    (reports / name).mkdir(parents=True, exist_ok=True)
    (reports / name / "metrics.json").write_text(json.dumps(content))


def test_only_new_numbers_are_remembered(tmp_path):
    for value, day in ((50.0, 1), (50.0, 2), (51.5, 3), (51.5, 4), (49.0, 5)):
        history = site.remember(tmp_path, summary(value, f"2026-01-0{day}T10:00:00+00:00"))
    assert [entry["headline"]["04"]["AP (%)"] for entry in history] == [50.0, 51.5, 49.0]
    assert site.read_history(tmp_path) == history
    assert site.past(history, "04", "AP (%)") == [("2026-01-01", 50.0), ("2026-01-03", 51.5), ("2026-01-05", 49.0)]


def test_speeds_are_not_remembered(tmp_path):
    for value in (20.0, 21.0):
        content = summary(50.0)
        content["notebooks"]["02"] = {"headline": {"training images/s": value, "INT8 times faster, network": value}}
        history = site.remember(tmp_path, content)
    assert [entry["headline"] for entry in history] == [{"04": {"AP (%)": 50.0}}]


def test_every_commit_of_a_report_is_named(tmp_path):
    pages_of_two = summary(50.0, provenance={"commit": ["a" * 40, "b" * 40], "cpu": "A Processor"})
    write_report(tmp_path, "mixed", pages_of_two)
    write_report(tmp_path, "bare", summary(50.0, provenance={}))
    text = BeautifulSoup(site.publish_site(tmp_path, str).read_text(), "html.parser").get_text()
    assert f"commit {'a' * 10}, {'b' * 10}, A Processor" in text and text.count("commit") == 1


def test_move_is_the_last_step():
    history = [{"date": f"2026-01-0{i}", "headline": {"04": {"AP": v}}} for i, v in ((1, 50.0), (2, 53.0), (3, 52.0))]
    assert site.move(history, "04", "AP") == {"by": -1.0, "before": 53.0, "day": "2026-01-02"}
    assert site.move(history[:1], "04", "AP") is None and site.move(history, "04", "AR") is None
    assert site.move(history, "05", "AP") is None


def test_another_number_that_changed_doesnt_make_a_move():
    history = [{"date": "2026-01-01", "headline": {"04": {"AP": 50.0, "AR": v}}} for v in (60.0, 61.0)]
    assert site.move(history, "04", "AP") is None and site.move(history, "04", "AR")["by"] == 1


def test_a_report_without_numbers_is_not_remembered(tmp_path):
    empty = summary(1) | {"notebooks": {"04": {"headline": {}}}}
    assert site.remember(tmp_path, empty) == [] and not (tmp_path / site.HISTORY).exists()


def test_damaged_history_is_named(tmp_path):
    (tmp_path / site.HISTORY).write_text("[")
    with pytest.raises(ValueError, match=r"history\.json: not readable"):
        site.remember(tmp_path, summary(1))


def test_page_lists_reports_most_recent_first_and_escapes_what_they_say(tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    write_report(tmp_path, "older", summary(50.0, title=hostile, label=hostile))
    write_report(tmp_path, "newer", summary(60.0, "2026-02-01T10:00:00+00:00", title="Newer"))
    site.remember(tmp_path / "newer", summary(55.0))
    site.remember(tmp_path / "newer", summary(60.0, "2026-02-01T10:00:00+00:00"))
    page = BeautifulSoup(site.publish_site(tmp_path, str).read_text(), "html.parser")
    assert [heading.get_text() for heading in page.select("h2")] == ["Newer", hostile, "The numbers, side by side"]
    assert not page.select("img")
    assert [link["href"] for link in page.select("h2 a")] == ["newer/index.html", "older/index.html"]
    assert [cell.get_text() for cell in page.select("thead th")] == ["Number", "Newer", hostile]
    table = [[cell.get_text(" ", strip=True) for cell in row.select("th, td")] for row in page.select("tbody tr")]
    assert table == [["04"], ["AP (%)", "60.0 +5.0 from 55.0 ( 2026-01-01 )", "–"], [hostile, "–", "50.0"]]
    assert [link["href"] for link in page.select("td a")] == ["newer/04.html", "older/04.html"]


def test_no_report_yet(tmp_path):
    assert "No report yet" in site.publish_site(tmp_path, str).read_text()
