from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from porter.parity.outcome import ClassProbability, ImageResult
from porter.report.html import html, html_of_many

VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Collects tags and refuses any that is closed out of order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        """An element begins."""
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """An empty element."""
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        """An element ends; it must be the last one that began."""
        assert self.open.pop() == tag


def outline(page):
    """Every element of the page with its attributes."""
    parser = Outline()
    parser.feed(page)
    parser.close()

    assert parser.open == []
    return parser.seen


@pytest.mark.parametrize("kind", ["passing", "failing", "broken", "undecided"])
def test_the_page_is_well_formed(kind, request):
    """Every element is closed in order, whatever the outcome."""
    tags = [tag for tag, _ in outline(html(request.getfixturevalue(kind)))]

    assert {"html", "head", "body", "table"} <= set(tags)


def test_the_page_loads_nothing_and_runs_nothing(failing):
    """There is no script and no attribute or style that fetches anything."""
    page = html(failing)
    tags = outline(page)

    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags}
    assert not {"src", "href", "srcset"} & {name for _, attrs in tags for name in attrs}
    assert "url(" not in page
    assert "@import" not in page


def test_text_from_outside_is_escaped(passing):
    """A name that looks like markup is shown, not interpreted."""
    cases = tuple(replace(case, dtype='"><script>') for case in passing.cases)
    page = html(replace(passing, title="<script>alert(1)</script>", notes=("<b>&",), cases=cases))

    assert "<script" not in page
    assert "&lt;b&gt;&amp;" in page


def test_exponents_of_the_axis_are_small_and_have_a_minus(failing):
    """A power of ten is written as on paper."""
    exponents = re.findall(r'10<tspan dy="-4" font-size="7">([^<]+)</tspan>', html(failing))

    assert exponents
    assert all(re.fullmatch("\N{MINUS SIGN}?[0-9]+", exponent) for exponent in exponents)
    assert any(exponent.startswith("\N{MINUS SIGN}") for exponent in exponents)


def test_every_size_is_drawn_for_desktop_and_phone(failing):
    """Each input size has one drawing per orientation, with both columns and the tolerance of both dtypes."""
    drawings = [attrs for tag, attrs in outline(html(failing)) if tag == "svg" and "role" in attrs]
    lines = re.findall(r'<polyline class="(\w+ float\d\d)" points="([^"]+)"', html(failing))

    assert [attrs["class"] for attrs in drawings] == ["wide", "tall"] * 3
    drawn = {name for name, points in lines if points.count(",") > 30}
    assert drawn == {f"{c} {d}" for c in ("propagated", "local", "tolerance") for d in ("float64", "float32")}


def test_the_plot_is_logarithmic(failing):
    """Equal ratios of error lie equally far apart."""
    page = html(failing)
    marks = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="2.6"><title>(\S+) float64 local: ([\d.e-]+)', page)
    wide = {name: (float(y), float(e)) for _, y, name, e in marks[:39]}
    (y1, e1), (y2, e2), (y3, e3) = (wide[name] for name in ("stem", "blocks.0.1", "blocks.1.2"))
    decades = [math.log10(e) for e in (e1, e2, e3)]

    assert (y1 - y2) / (decades[1] - decades[0]) == pytest.approx(
        (y2 - y3) / (decades[2] - decades[1]), rel=0.05
    )


def test_the_worst_element_of_every_stage_is_tabulated(failing):
    """A bad row shows the index, both values and the share over tolerance, and the guilty one is marked."""
    page = html(failing)
    (row,) = re.findall(r'<tr class="bad first">.*?</tr>', page)[:1]

    assert re.findall(r">([^<>]+)<", row) == [
        "blocks.1.2",
        "1.5e-01",
        "2.8e-01",
        "1e-11",
        "43.2%",
        "(0, 131, 13, 7)",
        "-1.25",
        "-0.76",
    ]


def test_environment_ledger_and_findings_are_on_the_page(failing):
    """Versions, where the variables went and the likely cause can be read from the page alone."""
    page = html(failing)

    assert "tf-models-official 2.20.0" in page
    assert "536" in page
    assert "<b>padding</b> at <code>blocks.1.2</code>" in page


def test_images_are_shown_with_what_all_three_see(passing):
    """A real image has its preparation's difference and the classes of both networks."""
    guesses = tuple(ClassProbability(index, 0.5 / (index + 1), f"<{index}>") for index in range(5))
    image = ImageResult("cat & dog.jpg", 0.02, 0.31, guesses, guesses, guesses[::-1], 2e-7)

    page = html(replace(passing, images=(image,)))

    outline(page)
    assert "cat &amp; dog.jpg" in page
    assert "3.1e-01 after timm" in page
    assert page.count("class 4: 0.1000 &lt;4&gt;") == 3
    assert "2.0e-07" in page


def test_nothing_compared_is_still_a_page(passing):
    """A report without cases says so and has no plots."""
    page = html(replace(passing, cases=()))

    outline(page)
    assert "<b>NOTHING COMPARED</b>" in page
    assert "<svg class" not in page


def test_what_cannot_be_decided_is_neither_good_nor_bad(undecided):
    """The verdict says what would decide."""
    page = html(undecided)

    assert '<div class="verdict undecided"><b>NOT DECIDABLE</b>' in page
    assert "record a float64 run on both sides" in page


def test_page_of_many_has_a_line_for_each(many):
    """Those without parity come first; each opens to its own report, and every element is closed."""
    page = html_of_many("3 checkpoints", many)

    outline(page)
    lines = re.findall(r"<summary>([^<]*): ([^<]*h5)</summary>", page)
    assert lines == [("NO PARITY", "bad.h5"), ("failed", "c.h5"), ("PARITY", "a&lt;b&gt;.h5")]
    assert "1 of 3 have parity" in page
    assert "is &lt;junk&gt;" in page
