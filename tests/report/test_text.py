from __future__ import annotations

from dataclasses import replace

from porter.parity.outcome import ClassProbability, ImageResult
from porter.report.html import html
from porter.report.text import text


def test_every_line_fits_80_columns(failing, passing, broken):
    """No line is longer than a terminal, whatever the outcome."""
    assert max(len(line) for report in (failing, passing, broken) for line in text(report).splitlines()) <= 80


def test_the_answer_stands_before_the_figures(failing):
    """The verdict and the first bad stage are read before the first table."""
    lines = text(failing).splitlines()

    assert lines.index("NO PARITY: first bad stage is blocks.1.2") < min(
        i for i, line in enumerate(lines) if line.startswith("dtype")
    )


def test_the_first_bad_stage_is_marked(failing):
    """Only the guilty stage of each table carries the mark, though every later stage is off."""
    marked = [line for line in text(failing).splitlines() if line.startswith("> ")]

    assert [line.split()[1] for line in marked] == ["blocks.1.2", "blocks.1.2"]
    assert "2.8e-01!" in marked[0]


def test_both_columns_of_both_element_types_are_shown_for_every_stage(passing):
    """A stage has a row per element type with two figures per size and what is allowed."""
    rows = [line.split() for line in text(passing).splitlines() if line.startswith("  blocks.2.4")]

    assert [len(row) for row in rows] == [8, 8]
    assert [row[-1] for row in rows] == ["1e-11", "8e-05"]


def test_a_failure_gives_the_worst_element_with_both_values(failing):
    """The worst element of the guilty stage is stated with its index, both values and what is allowed."""
    told = " ".join(text(failing).split())

    assert "float64@224x224, local column: error 2.8e-01 of the stage's scale, 1e-11 allowed" in told
    assert "worst at element (0, 131, 13, 7): expected -1.25, got -0.76" in told


def test_findings_say_what_to_look_at(failing):
    """A finding is printed with its evidence and the place to look at."""
    told = " ".join(text(failing).split())

    assert "1. padding: blocks.1.2: at 224 and 200 it is off" in told
    assert 'Look at pad_type="same" in [target] of mappings/model_garden/mobilenet_v4.toml' in told


def test_a_stage_that_could_not_be_compared_says_why(broken):
    """Each reason for which nothing was compared appears in place of a figure."""
    told = text(broken)

    assert all(word in told for word in ("missing!", "extra!", "shape!!", "nan/inf!", "const!"))


def test_a_stale_reference_is_not_called_a_failure(passing):
    """A golden of another table says STALE and why, and does not say NO PARITY."""
    told = text(replace(passing, stale="the table has changed since"))

    assert "STALE: the table has changed since" in told
    assert "PARITY" not in told.replace("STALE", "")


def test_colour_is_only_added_on_request(failing):
    """Without colour there is no escape sequence, with it the words are the same."""
    plain, coloured = text(failing), text(failing, colour=True)

    assert "\x1b" not in plain
    assert "\x1b[31m" in coloured


def image(source_difference):
    """Return an image on which both sides agree, with long names of classes."""
    guesses = tuple(
        ClassProbability(n, 0.5 / (n + 1), f"name number {n}, and {'more ' * 9}") for n in range(5)
    )
    return ImageResult("cat.jpg", source_difference, 0.31, guesses, guesses, guesses, 2e-7)


def test_images_show_names_from_both_sides_by_side(passing):
    """Each class has probability, number and name once per side, and the largest difference is said."""
    told = text(replace(passing, images=(image(0.02),)))

    (row,) = [line for line in told.splitlines() if line.startswith("   10.00%")]
    assert row.split("10.00%")[1].split() == row.split("10.00%")[2].split()
    assert row.split()[1:5] == ["4", "name", "number", "4,"]
    assert "largest difference of any class's probability: 2.0e-07" in told
    assert "differ from the source's own by at most 2.0e-02" in " ".join(told.split())
    assert max(len(line) for line in told.splitlines()) <= 80


def test_source_without_image_code_is_called_that(passing):
    """Where the source prepares no images itself, no difference from it is claimed."""
    told = " ".join(text(replace(passing, images=(image(None),))).split())

    assert "The source has no code that prepares images" in told
    assert "source's own" not in told


def test_a_long_kind_of_run_does_not_touch_the_size(passing):
    """Every column of the first table is a word of its own, and the columns stand below one another."""
    case = replace(passing.cases[-1], dtype="float32 optimised")
    lines = text(replace(passing, cases=(*passing.cases, case))).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("dtype"))
    rows = lines[start + 1 : start + 2 + len(passing.cases)]

    assert rows[-1].startswith("float32 optimised 200x200")
    assert {row.index("x2") - 3 for row in rows} == {lines[start].index("size")}


def test_each_note_is_there_once(make_report):
    """A note of one side that the report repeats is printed once, in text and on the page."""
    report = make_report(None)
    expected = replace(report.expected, notes=("the constant is rounded",))
    report = replace(report, expected=expected, notes=(*expected.notes, "a note of the report"))

    for written in (text(report), html(report)):
        assert written.count("the constant is rounded") == 1
        assert written.count("a note of the report") == 1


def test_what_cannot_be_decided_says_why_and_what_would_decide(undecided):
    """The verdict names what is missing; no line of cases claims that another one decides."""
    shown = " ".join(text(undecided).split())

    assert "NOT DECIDABLE: only float32 was compared" in shown
    assert "record a float64 run on both sides" in shown
    assert "(i) informs only; nothing decides" in shown
    assert "PARITY" not in shown
