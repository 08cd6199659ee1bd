"""Pictures: the words for those who cannot see them are made of the numbers that were drawn."""

import base64
import csv
import re

import numpy as np
import pytest

from companion import records
from companion.figures import COLORS, INK, Picture
from companion.statistics import interval


def words(draw):
    picture = Picture()
    draw(picture[0])
    return picture.words()


@pytest.mark.parametrize(
    "x, y, said",
    [
        ([0, 1, 2], [1.0, 0.5, 0.25], "rate falls from 1 at 0 to 0.25 at 2."),
        ([0, 1, 2], [1.0, 1.5, 4.0], "rate rises from 1 at 0 to 4 at 2."),
        ([0, 1, 2], [2.0, 2.0, 2.0], "rate stays at 2."),
        ([0, 1, 2], [0.0, 0.0, 0.0], "rate stays at 0."),
        ([0, 1, 2], [1.0, 0.5, 2.0], "rate goes from 1 at 0 to 2 at 2, lowest 0.5 at 1."),
        ([0, 1, 2], [1.0, 3.0, 2.0], "rate goes from 1 at 0 to 2 at 2, highest 3 at 1."),
        ([0, 1, 2, 3], [1.0, 0.0, 3.0, 2.0], "rate goes from 1 at 0 to 2 at 3, lowest 0 at 1, highest 3 at 2."),
        ([5], [0.123456], "rate is 0.123 at 5."),
        ([0, 1, 2], [np.nan, 2.0, 1.0], "rate falls from 2 at 1 to 1 at 2."),
        ([0], [np.nan], "rate has no finite value."),
        (["train", "test"], [1.0, 2.0], "rate rises from 1 at train to 2 at test."),
    ],
)
def test_a_curve_in_words(x, y, said):
    assert words(lambda panel: panel.line(x, y, "rate")) == said


def test_the_number_that_is_drawn_is_the_number_that_is_said():
    for end in (0.25, 0.75):
        assert f"to {end} at 1" in words(lambda panel, end=end: panel.line([0, 1], [0.0, end], "rate"))


def test_axes_title_and_scales_are_said():
    def draw(panel):
        panel.line([1, 10], [1.0, 2.0], "$\\lambda$, closed form")
        panel.set(xlabel="noise_std", ylabel="rate $\\lambda$", title="One unit", xscale="log")

    said = "One unit: rate lambda against noise_std (x logarithmic): lambda, closed form rises from 1 at 1 to 2 at 10."
    assert words(draw) == said


def test_means_over_seeds_are_what_is_said_and_drawn():
    samples = np.array([[1.0, 2.0], [3.0, 6.0], [2.0, 4.0]])
    for mark, name in (("band", "bands"), ("points", "bars")):
        picture = Picture()
        getattr(picture[0], mark)([0, 1], samples, "BN", "batch")
        assert picture.words() == "BN rises from 2 at 0 to 4 at 1."
        assert picture[0].marks == {name}
    picture = Picture()
    picture[0].band([0, 1], samples, "BN", scale="log")
    geometric = np.exp(interval(np.log(samples[:, 0]))[0])
    assert f"from {geometric:.3g} at 0" in picture.words()


def test_one_seed_has_no_interval_to_speak_of():
    for mark in ("band", "points"):
        picture = Picture()
        getattr(picture[0], mark)([0, 1], [[1.0, 2.0]], "BN")
        assert picture[0].marks == set()
        assert picture.words() == "BN rises from 1 at 0 to 2 at 1."


def test_levels_images_notes_and_what_is_left_out():
    def draw(panel):
        panel.level(0.5, "the closed form")
        panel.level(0.7)
        panel.line([0, 1], [0.0, 1.0], words=False)
        panel.dots([0, 1], [3.0, 2.0], "units")
        panel.note("an arrow points up")

    assert words(draw) == "units falls from 3 at 0 to 2 at 1; the closed form is the level 0.5; an arrow points up."
    image = words(lambda panel: panel.image(np.array([3.0, -4.0, 0.0, 0.0]), "digit 3", side=2))
    assert "largest 4" in image and "36%" in image


def drawn_picture():
    picture = Picture(1, 2)
    picture[0].band([0, 1, 2], np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]), 'BN "fixed" & free', "batch")
    picture[1].line([0, 1], [1.0, 0.0], "closed form", "theory")
    return picture


@pytest.fixture
def shown(monkeypatch):
    import IPython
    import IPython.display

    bundles = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def test_a_picture_is_shown_with_words_caption_source_and_anchor(shown):
    picture = drawn_picture()
    picture.show("What to see.", records.CLOSED_FORM, "two-panels")
    (bundle,) = shown
    record = records.from_json(bundle[records.MIME])
    assert record.anchor == "two-panels"
    assert record.alt == picture.words()
    assert record.caption == "What to see. Bands: 95 % intervals of the mean over seeds; dots: seeds."
    markup = bundle["text/html"]
    assert '<figure class="plot" id="two-panels">' in markup
    assert re.search(r'<svg role="img" aria-label="BN &quot;fixed&quot; &amp; free rises', markup)
    assert "<small>Source: closed form, no data.</small>" in markup
    assert INK not in markup and "currentColor" in markup


def test_two_figures_of_a_page_share_no_id_and_one_is_drawn_alike_twice(shown):
    other = Picture()
    other[0].line([0, 1], [1.0, 2.0], "another curve than those above")
    for picture in (drawn_picture(), drawn_picture(), other):
        picture.show("What to see.", records.CLOSED_FORM, "name")
    first, again, third = (bundle["text/html"] for bundle in shown)
    assert first == again
    ids = [set(re.findall(r'\bid="(f[0-9a-f]+-[^"]+)"', markup)) for markup in (first, third)]
    assert ids[0] and ids[1] and not ids[0] & ids[1]
    for markup, own in zip((first, third), ids):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', markup)) <= own


def test_a_figure_without_words_is_refused():
    picture = Picture()
    picture[0].ax.plot([0, 1], [0, 1])
    with pytest.raises(ValueError, match=r"the words for figure 'bare' are '': too few; use note\(\)"):
        picture.show("What to see.", records.CLOSED_FORM, "bare")


def test_colours_are_apart():
    assert len(set(COLORS.values())) == len(COLORS)


def test_the_numbers_that_were_drawn_can_be_had():
    samples = np.array([[1.0, 2.0], [3.0, 6.0], [2.0, 4.0]])
    picture = Picture(1, 2)
    picture[0].points([0, 1], samples, "BN", "batch")
    picture[0].level(0.5, "half")
    picture[0].set(title="Rate $\\lambda$")
    picture[1].line(["a", "b"], [np.nan, 1 / 3], words=False)
    rows = list(csv.DictReader(picture.numbers().splitlines()))
    means = [row for row in rows if row["curve"] == "BN" and not row["seed"]]
    assert [float(row["y"]) for row in means] == [2.0, 4.0]
    _, low, high = interval(samples[:, 0])
    assert [float(means[0][end]) for end in ("low", "high")] == pytest.approx([low, high], rel=1e-5)
    assert [float(row["y"]) for row in rows if row["seed"] == "2"] == [3.0, 6.0]
    assert {row["panel"] for row in rows} == {"Rate lambda", "panel 2"}
    assert [(row["x"], row["y"]) for row in rows if row["panel"] == "panel 2"] == [("a", ""), ("b", "0.333333")]
    assert [row["y"] for row in rows if row["curve"] == "half"] == ["0.5"]
    by_hand = Picture()
    by_hand[0].note("an arrow")
    assert by_hand.numbers() == ""


@pytest.mark.parametrize(("shape", "narrow"), [((1, 1), 0), ((3, 1), 0), ((1, 2), 1), ((2, 2), 1)])
def test_panels_side_by_side_stand_one_below_the_other_on_a_phone(shown, shape, narrow):
    picture = Picture(*shape, sharex=True, sharey=True)
    for panel in picture:
        panel.line([0, 1], [0.0, 1.0], "a rate that rises with the noise on its inputs")
    picture.show("What to see.", "closed form, no data", "name")
    markup = shown[0]["text/html"]
    assert markup.count("plot-narrow") == narrow
    assert markup.count("<svg") == 1 + narrow
    assert base64.b64decode(shown[0][records.MIME]["png"]).startswith(b"\x89PNG")


def test_images_stay_side_by_side(shown):
    picture = Picture(1, 2)
    for panel in picture:
        panel.image(np.arange(784.0), "weights")
    picture.show("What to see.", "closed form, no data", "name")
    assert "plot-narrow" not in shown[0]["text/html"]


def of_curves(ends, labels=("BN", "weight decay", "closed form")):
    picture = Picture()
    for end, label in zip(ends, labels):
        picture[0].line([0, 1, 2], [1.0, 0.5, end], label)
    picture[0].set(ylim=(0, 1), legend=True)
    picture.figure.draw_without_rendering()
    return picture[0]


def test_curves_that_end_apart_are_labelled_at_their_ends():
    panel = of_curves([0.1, 0.4, 0.9])
    assert panel.label_ends()
    assert not panel.ax.get_legend().get_visible()
    written = {text.get_text(): text.xy[1] for text in panel.ax.texts}
    assert written == pytest.approx({"BN": 0.1, "weight decay": 0.4, "closed form": 0.9})
    assert panel.label_ends() and len(panel.ax.texts) == 3  # again, as for another size


@pytest.mark.parametrize(
    ("ends", "labels"),
    [((0.5, 0.5, 0.5, 0.5, 0.5), "abcde"), ((0.1, 0.9), ("a name that is as long as half of the panel" * 2, "BN"))],
)
def test_where_labels_have_no_room_there_is_a_legend(ends, labels):
    panel = of_curves(ends, labels)
    assert not panel.label_ends()
    assert panel.ax.get_legend().get_visible() and not panel.ax.texts


def test_the_sentence_above_a_figure_says_what_it_shows():
    picture = Picture()
    picture[0].line([0, 1], [0.0, 1.0], "a rate that rises with the noise on its inputs")
    with pytest.raises(ValueError, match="its first sentence stands above the figure and says what it shows"):
        picture.show("Left: the rate.", "closed form, no data", "name")
