import json
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from fusebench.artifacts import RowInfo
from fusebench.report import RunReport, render

RUN = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))
BROWSER = runpy.run_path(str(Path(__file__).with_name("chromium.py")))
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "link", "br", "wbr", "img", "input"}


class Reader(HTMLParser):
    """Collects tags, ids and links, and checks that tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.refs: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src"):
                self.refs.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


def quick(**changes: object) -> RunReport:
    return RunReport(**{**RUN["parts"](scale=0.15), "bootstrap": 60, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("report")
    assert render(quick(), where) == where / "index.html"
    return where


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "index.html").read_text()


def test_all_files_are_written(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {"index.html", "tables.md", "tables.tex", "results.jsonl"}


def test_the_page_has_no_address_and_asks_for_nothing(text: str) -> None:
    assert not re.search(r"://|@import|url\(", text)
    assert all(ref.startswith("#") or ref == "data:," for ref in read(text).refs)


def test_the_page_is_balanced_its_ids_unique_and_its_links_lead_somewhere(text: str) -> None:
    reader = read(text)
    assert len(reader.ids) == len(set(reader.ids))
    assert {ref[1:] for ref in reader.refs if ref.startswith("#")} <= set(reader.ids)
    labels = {word for found in re.findall(r'aria-labelledby="([^"]+)"', text) for word in found.split()}
    assert labels <= set(reader.ids)


def test_every_table_has_a_caption_and_scoped_heads(text: str) -> None:
    assert text.count("<table") == text.count("<caption") > 10
    assert "<th>" not in text


def test_every_section_is_there(text: str) -> None:
    for word in (
        "main",
        "ablations",
        "efficiency",
        "wins",
        "coverage",
        "claims",
        "batches",
        "cost",
        "examples",
        "recipe",
    ):
        assert f'id="{word}"' in text
    for number in range(1, 8):
        assert f'<li id="C{number}">' in text


def test_model_output_and_names_are_shown_as_text_never_as_markup(tmp_path: Path) -> None:
    samples = RUN["samples"](scale=0.15)
    for name in ("prompt", "output", "gold"):
        samples[name] = EVIL
    samples["row"] = samples["row"].replace("clm", EVIL)
    samples["task"] = samples["task"].replace("navigate", EVIL)
    rows = [RowInfo(**{**vars(r), "name": EVIL}) if r.name == "clm" else r for r in RUN["rows"]()]
    coverage = RUN["coverage"]().replace("reasoner", EVIL)
    report = quick(
        samples=samples,
        rows=rows,
        title=EVIL,
        description=EVIL,
        recipe_yaml=EVIL,
        notes=[EVIL],
        coverage=coverage,
        versions={EVIL: EVIL},
        hashes={EVIL: EVIL},
        suites=[(name, family, EVIL) for name, family, _ in RUN["TITLES"]],
    )
    reader = read(render(report, tmp_path).read_text())
    assert not {"script", "img", "iframe"} & set(reader.tags)
    assert not {name for name in reader.attributes if name.startswith("on")}


def test_an_address_in_a_model_output_is_still_readable_but_no_address(tmp_path: Path) -> None:
    samples = RUN["samples"](scale=0.15)
    samples["output"] = "see https://example.org/a"
    text = render(quick(samples=samples), tmp_path).read_text()
    assert "https://" not in text and "https:&#47;&#47;example.org/a" in text


def test_control_characters_of_an_output_are_made_visible(tmp_path: Path) -> None:
    samples = RUN["samples"](scale=0.15)
    samples["output"] = "a\x00\x1b[31mb"
    text = render(quick(samples=samples), tmp_path).read_text()
    assert "a\u2400\u241b[31mb" in text and "\x00" not in text


def test_results_have_one_row_each_and_null_where_unavailable(tmp_path: Path) -> None:
    render(quick(samples=RUN["samples"](scale=0.15, unavailable=("toy_code",))), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    keys = [tuple(r[k] for k in ("experiment", "method", "seed", "step", "suite", "task", "metric")) for r in rows]
    assert len(keys) == len(set(keys))
    lost = [r for r in rows if r["suite"] == "toy_code"]
    assert lost and all(r["value"] is None and r["n"] == 0 for r in lost)
    assert "unavailable" in (tmp_path / "index.html").read_text()


def test_different_batches_are_called_out(tmp_path: Path) -> None:
    rows = [RowInfo(**{**vars(r), "batches": "c" * 64}) if r.name == "kd" else r for r in RUN["rows"]()]
    text = render(quick(rows=rows), tmp_path).read_text()
    assert "not all on the same batches" in text and "✗ different" in text


def test_equal_batches_are_confirmed(text: str) -> None:
    assert "all trained on the same batches" in text and "✗" not in text


def test_the_same_run_gives_the_same_page(text: str, tmp_path: Path) -> None:
    assert render(quick(), tmp_path).read_text() == text


def test_a_run_of_two_plain_models_still_has_a_page(tmp_path: Path) -> None:
    rows = [r for r in RUN["rows"]() if r.experiment == "main" and r.name in ("target", "coder")]
    samples = RUN["samples"](scale=0.15)
    samples = samples[samples["row"].isin(["target", "coder"]) & (samples["suite"] == "toy_bbh")]
    empty = pd.DataFrame(columns=["experiment", "row", "source", "outcome", "share"])
    text = render(quick(rows=rows, samples=samples, choices={}, coverage=empty), tmp_path).read_text()
    read(text)
    assert "cannot say" in text and text.count("undecided") >= 7


def test_nothing_scored_at_all_still_has_a_page(tmp_path: Path) -> None:
    samples = RUN["samples"](scale=0.1, unavailable=tuple(RUN["SUITES"]))
    read(render(quick(samples=samples), tmp_path).read_text())


def test_templates_are_part_of_the_package() -> None:
    from importlib.resources import files

    names = {p.name for p in (files("fusebench.report") / "templates").iterdir()}
    assert {"index.html.j2", "macros.html.j2", "style.css.j2"} <= names


@pytest.mark.skipif(BROWSER["BROWSER"] is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_page_without_overflow_complaint_or_request(folder: Path) -> None:
    with BROWSER["Page"]() as page:
        for width, dark in ((1280, False), (390, False), (390, True)):
            page.open(folder / "index.html", width, dark=dark)
            page.value("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert page.value("document.documentElement.scrollWidth") <= width
            assert page.value("document.querySelectorAll('svg').length") > 5
            assert page.complaints() == []
            assert [url for url in page.requests() if not url.startswith(("file:", "data:"))] == []
