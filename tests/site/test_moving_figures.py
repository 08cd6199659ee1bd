"""The figures that move: their formulas against bnlib.theory, their controls, what is left without JavaScript."""

import re
from itertools import product

import numpy as np
import pytest

from bnlib import theory
from bnlib.moments import Moments
from companion import BOOK, figures

MOVING = BOOK / "moving"
FORMS = (MOVING / "closed_forms.js").read_text()
FIGURES = ("ellipse", "noise", "cross_entropy", "decay", "batches", "half_tuned")
# a module by its text, so that a test can also ask a wrong one
EVALUATE = """async ([source, calls]) => {
  const forms = await import("data:text/javascript;charset=utf-8," + encodeURIComponent(source));
  return calls.map(([name, ...given]) => forms[name](...given));
}"""
PERTURBED = {
    "effectiveWeights": ("(gamma / divisor) * value", "(1 + 1e-11) * (gamma / divisor) * value"),
    "rate": ("-dot(v, gradV) / gamma ** 2", "-dot(v, gradV) / gamma ** 2.0000000001"),
    "l2EquivalentRate": ('positive("|v|^2", dot(v, v))', 'positive("|v|^2", dot(v, v) + 1e-10)'),
    "squaredLoss": ("targetVar - 2 *", "targetVar - 2.00000000001 *"),
    "squaredLossGradient": ("value - moments.cross[i]", "value - 1.00000000001 * moments.cross[i]"),
    "ordinaryLeastSquares": ("a * d - b * b", "a * d - 1.00000000001 * b * b"),
    "leastSquares": ("(2 * explainedStd ** 2)", "(2.00000000001 * explainedStd ** 2)"),
    "leastSquaresRate": ("Math.max(0, multiplier)", "Math.max(1e-10, multiplier)"),
    "noisePath": (
        "(multiplier * signal) / normSquared + (1 +",
        "(multiplier * signal) / normSquared + (1.00000000001 +",
    ),
    "logisticResting": ("(weight * chance) / (1 +", "(weight * chance) / (1.0000000001 +"),
    "logisticNoisePath": ("1 + squares - curvature", "1.0000000001 + squares - curvature"),
    "weightDecayRate": ("/ (eps * gamma ** 2)", "/ (eps * gamma ** 2.0000000001)"),
    "weightDecayFit": ("** 1.5) / (inputVar", "** 1.50000000001) / (inputVar"),
    "minibatchFactor": ("(size - 1) / 2 / ratio", "(size - 0.99999999999) / 2 / ratio"),
    "minibatchDecay": ("(excessKurtosis + 6)", "(excessKurtosis + 6.0000000001)"),
    "expectedBatchLoss": ("gamma ** 2 / 2", "gamma ** 2.0000000001 / 2"),
    "neededRate": ("inputs * (1 - rSquared)", "inputs * (1.0000000001 - rSquared)"),
    "trueLengthRate": ("(1 - mean) * fall", "(1.0000000001 - mean) * fall"),
    "trueLengthExcess": ("1 + (inputs - 1) * mixture", "1 + (inputs - 0.9999999999) * mixture"),
}


def flat(value):
    """Numbers of a nested result, in the order of its keys."""
    if isinstance(value, dict):
        return flat(list(value.values()))
    return [number for entry in value for number in flat(entry)] if isinstance(value, list) else [value]


def least_squares_grid():
    """Two inputs, as the ellipse has them: moments, gamma, eps."""
    for turn, spread, gamma, eps in product((-1.2, 0.1, 0.7), (1.0, 2.0, 3.0), (-0.4, 0.9, 2.3), (0.0, 0.3)):
        U = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        cov = U @ np.diag([spread, 1 / spread]) @ U.T
        cov = (cov + cov.T) / 2
        cross = cov @ [1.35, 0.8]
        yield Moments([0, 0], cov, cross, cross @ [1.35, 0.8] + 0.25), gamma, eps


def pairs():
    """Calls to the browser with what bnlib says: (name, arguments, expected numbers)."""
    for moments, gamma, eps in least_squares_grid():
        cov, cross, target_var = moments.cov, moments.cross, float(moments.target_var)
        given = {"cov": cov.tolist(), "cross": cross.tolist(), "targetVar": target_var}
        fit = theory.least_squares(moments, gamma, eps)
        yield "leastSquares", [given, gamma, eps], [*fit.weights, fit.rate, fit.l2_rate, fit.loss]
        std = float(np.sqrt(moments.r_squared * target_var))
        yield "leastSquaresRate", [std, gamma, eps], [fit.rate]
        yield "ordinaryLeastSquares", [given], [*np.linalg.solve(cov, cross), std]
        for w in ([1.0, 0.2], [-0.3, 2.0], [-1.0, -1.0]):
            v = theory.effective_weights(w, gamma, cov, eps)
            grad = cov @ v - cross
            yield "effectiveWeights", [w, gamma, cov.tolist(), eps], v
            yield "rate", [v.tolist(), grad.tolist(), gamma], [theory.rate(v, grad, gamma)]
            yield "l2EquivalentRate", [v.tolist(), grad.tolist()], [theory.l2_equivalent_rate(v, grad)]
            yield "squaredLoss", [v.tolist(), given], [(target_var - 2 * cross @ v + v @ cov @ v) / 2]
            yield "squaredLossGradient", [v.tolist(), given], grad
    for decay, alignment, gamma, level in product((0, 1.5, 4), (-2, 0.5, 2), (0.3, -1.2), (0.02, 0.3, 2.0, 30.0)):
        index = np.arange(6.0, 0, -1)
        variances = 4 * index**-decay  # ascending, so that bnlib's directions are in the same order
        shares = 0.9 * index**alignment / (index**alignment).sum()
        moments = Moments(np.zeros(6), np.diag(variances), np.sqrt(variances * shares), 1.0)
        path = theory.noise_path(moments, gamma, [level])
        parts = [path.rate, path.weights, path.signal_share, path.noise_share]
        parts += [path.l2_rate, path.clean_l2_rate, path.wiener]
        given = [variances.tolist(), moments.cross.tolist(), gamma, level]
        yield "noisePath", given, np.concatenate([part.ravel() for part in parts])
        logistic = Moments(np.zeros(6), np.diag(variances), 0.3 * moments.cross, 0.16)
        path = theory.logistic_noise_path(logistic, gamma, 0.2, [level])
        parts = [path.rate, path.weights, path.signal_share, path.noise_share, path.l2_rate, path.wiener]
        given = [variances.tolist(), logistic.cross.tolist(), gamma, level, 0.2]
        yield "logisticNoisePath", given, [*np.concatenate([part.ravel() for part in parts]), path.beta, path.curvature]
    for gamma, share in product((0.1, 1.0, 2.3, 7.0, 40.0), (0.03, 0.3, 0.8)):
        fit = theory.logistic_fit(Moments([0], [[1]], [0.01], share * (1 - share)), gamma, share)
        yield "logisticResting", [gamma, share], [fit.beta, fit.curvature]
    for weight_decay, norm, gamma, eps in product((1e-4, 0.3), (0.1, 7.0), (0.4, -2.0), (1e-5, 0.5)):
        given = [weight_decay, norm, 2.5 * norm**2, gamma, eps]
        yield "weightDecayRate", given, [theory.weight_decay_rate(*given)]
    for M in range(2, 257):
        yield "minibatchFactor", [M], [theory.minibatch_factor(M)]
        for kurtosis in (-2.0, 0.0, 6.0):
            yield "minibatchDecay", [M, kurtosis], [theory.minibatch_decay(M, kurtosis)]
        if M <= 32:  # above, the exact decay is a difference of nearly equal numbers in bnlib, too
            yield "minibatchDecay", [M], [theory.minibatch_decay(M)]
        for gamma, R in ((0.2, 0.3), (1.3, 0.9)):
            population = theory.least_squares(Moments([0], [[1]], [R], 1.0), gamma).loss - 0.5
            factor = float(theory.minibatch_factor(M))
            batch = factor * (population + (1 / factor - 1) * gamma**2 / 2)  # theorem minibatch, part 1
            yield "expectedBatchLoss", [gamma, factor, R], [batch]
    # small ones are differences of numbers of order 1, in bnlib too
    for (d, n), r_squared in product(((1, 4), (5, 20), (10, 80), (64, 90), (64, 300)), (0.05, 0.3, 0.7)):
        given = [r_squared, n, d]
        yield "neededRate", given, [theory.needed_rate(*given)]
        yield "trueLengthRate", given, [theory.true_length_rate(*given)]
        yield "trueLengthExcess", given, [theory.true_length_excess(*given)]


def resting_points():
    return list(product((1e-4, 0.01, 3.0), (0.3, 1.0), (0.5, 2.0), (0.32, 1.0, 1.9), (1e-5, 1e-2, 1.0)))


def worst_difference(page, source, only=None):
    """Largest relative difference of a number from bnlib's, over the grid."""
    calls = [pair for pair in pairs() if only in (None, pair[0])]
    worst = 0.0
    if calls:
        answers = page.evaluate(EVALUATE, [source, [[name, *given] for name, given, _ in calls]])
        for (name, given, expected), answer in zip(calls, answers):
            found, expected = np.array(flat(answer), dtype=float), np.asarray(expected, dtype=float)
            assert found.shape == expected.shape, name
            scale = np.where(expected == 0, 1.0, np.abs(expected))
            worst = max(worst, float(np.max(np.abs(found - expected) / scale)))
    if only in (None, "weightDecayFit"):
        calls = [["weightDecayFit", *given] for given in resting_points()]
        for (decay, R, var, gamma, eps), fit in zip(resting_points(), page.evaluate(EVALUATE, [source, calls])):
            output = np.sqrt(var) * theory.effective_weights([fit["weightNorm"]], gamma, [[var]], eps)[0]
            rate = theory.weight_decay_rate(decay, fit["weightNorm"], fit["batchVar"], gamma, eps)
            # at rest R = y + gamma^2 lambda / y for the output's standard deviation y: gradient zero, times w
            wrong = abs(output + gamma**2 * rate / output - R) / R
            worst = max(worst, float(wrong), abs(fit["rate"] / rate - 1), abs(fit["outputStd"] / output - 1))
    return worst


@pytest.fixture(scope="module")
def address_of(site):
    """The page of each figure, by its name; where it is shown in short is not its page."""
    found = {}
    for path in sorted((site / "book").glob("*.html")):
        for name in re.findall(r'data-figure="(\w+)">', path.read_text()):
            found.setdefault(name, str(path.relative_to(site).with_suffix("")))
    return found


@pytest.fixture(scope="module")
def page(browser):
    """An empty page in the browser, to compute in: those of the book run no module that is not theirs."""
    opened = browser.new_page()
    yield opened
    opened.close()


def test_every_figure_is_in_the_book(address_of):
    assert set(address_of) == set(FIGURES)


def test_the_browser_computes_what_bnlib_computes(page, record_property):
    worst = worst_difference(page, FORMS)
    record_property("worst relative difference", worst)
    print(f"worst relative difference between browser and bnlib: {worst:.1e}")
    assert worst <= 1e-12


@pytest.mark.parametrize("name", PERTURBED)
def test_a_formula_that_is_slightly_wrong_is_noticed(page, name):
    right, wrong = PERTURBED[name]
    assert FORMS.count(right) >= 1
    at = FORMS.index(right, FORMS.index(f"function {name}("))
    assert worst_difference(page, FORMS[:at] + wrong + FORMS[at + len(right) :], only=name) > 1e-12


def test_every_formula_has_its_control():
    exported = set(re.findall(r"^export function (\w+)", FORMS, flags=re.MULTILINE))
    assert exported == set(PERTURBED)


def test_colours_mean_what_they_mean_in_the_other_figures():
    declared = re.search(r"COLORS = \{(.*?)\}", (MOVING / "stage.js").read_text(), flags=re.DOTALL)[1]
    assert dict(re.findall(r'(\w+): "(#\w+)"', declared)) == figures.COLORS
    used = {color for path in MOVING.glob("*.js") for color in re.findall(r"#[0-9A-Fa-f]{6}", path.read_text())}
    assert used == set(figures.COLORS.values())


@pytest.mark.parametrize("name", FIGURES)
def test_the_keyboard_moves_every_slider_and_the_numbers_follow(browser_page, address_of, name):
    page, others, errors = browser_page(address_of[name])
    figure = page.locator(f"#moving-{name}")
    figure.locator(".moving-caption").click()  # Tab goes on from here
    sliders = figure.locator("input[type=range]")
    numbers = figure.locator(".moving-numbers")
    alts = figure.locator(".moving-board")
    assert sliders.count() >= 3
    for i in range(sliders.count()):
        page.keyboard.press("Tab")
        slider = sliders.nth(i)
        assert slider.evaluate("slider => slider === document.activeElement")
        assert figure.locator(f"label[for={slider.get_attribute('id')}]").inner_text()
        output = figure.locator("output").nth(i)
        before = output.inner_text(), slider.get_attribute("aria-valuetext")
        described = numbers.inner_text(), [alts.nth(j).get_attribute("aria-label") for j in range(alts.count())]
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        after = output.inner_text(), slider.get_attribute("aria-valuetext")
        assert before[0] == before[1] and after[0] == after[1] and before != after
        assert numbers.inner_text() != described[0]
        assert [alts.nth(j).get_attribute("aria-label") for j in range(alts.count())] != described[1]
    assert (others, errors) == ([], [])


def test_the_front_page_has_the_ellipse_with_two_sliders(browser_page):
    page, others, errors = browser_page("book/index")
    figure = page.locator("#moving-ellipse")
    sliders = figure.locator("input[type=range]")
    assert [one.get_attribute("id") for one in sliders.all()] == ["moving-ellipse-angle", "moving-ellipse-gamma"]
    before = figure.locator(".moving-numbers").inner_text()
    sliders.nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert figure.locator(".moving-numbers").inner_text() != before
    figure.locator("button").click()
    assert "The arrows cancel" in figure.locator(".moving-says").inner_text()
    assert (others, errors) == ([], [])


def test_what_the_figure_prints_is_what_bnlib_says(browser_page, address_of):
    page, _, _ = browser_page(address_of["batches"])
    page.focus("#moving-batches-size")
    page.keyboard.press("ArrowRight")
    M = int(page.locator("#moving-batches output").first.inner_text().split()[0])
    shown = page.locator("#moving-batches dd").all_inner_texts()
    assert shown[0] == f"{theory.minibatch_factor(M):.4f}"
    assert float(shown[1]) == float(f"{theory.minibatch_decay(M):.3g}")


def test_the_button_leads_to_the_minimizer_and_the_point_can_be_dragged(browser_page, address_of):
    page, _, errors = browser_page(address_of["ellipse"])
    figure = page.locator("#moving-ellipse")
    figure.scroll_into_view_if_needed()
    said = figure.locator(".moving-says")
    assert "cancel" not in said.inner_text()
    figure.locator("button").click()
    assert "The arrows cancel" in said.inner_text()
    numbers = dict(zip(figure.locator("dt").all_inner_texts(), figure.locator("dd").all_inner_texts()))
    assert numbers["rate λ(v)"] == numbers["λ at BN’s minimizer"]
    # the click scrolls only as far as the button needs: part of the board may be above the window
    figure.locator(".moving-board").evaluate("board => board.scrollIntoView({block: 'center'})")
    board = figure.locator(".moving-board").bounding_box()
    # the pointer rests on the board while the page scrolls on, as under a reader's hand
    page.mouse.move(board["x"] + board["width"] / 2, board["y"] + board["height"] / 2)
    page.evaluate("window.scrollBy({top: 30, behavior: 'instant'})")
    handle, board = figure.locator(".moving-handle").bounding_box(), figure.locator(".moving-board").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    # the board lets go of movements that come faster than it draws: a hand rests before it lifts
    for aside in (8, 2, 0):
        page.mouse.move(board["x"] + board["width"] / 2 + aside, board["y"] + 5, steps=5)
        page.wait_for_timeout(150)
    page.mouse.up()
    assert abs(float(page.input_value("#moving-ellipse-angle")) - 90) <= 1
    assert "cancel" not in said.inner_text()
    assert errors == []


def test_a_screen_reader_hears_the_end_of_a_movement_only(browser_page, address_of):
    page, _, _ = browser_page(address_of["noise"])
    live, said = page.locator("#moving-noise .moving-live"), page.locator("#moving-noise .moving-says")
    page.evaluate("""() => {
      window.spoken = [];
      const live = document.querySelector("#moving-noise .moving-live");
      new MutationObserver(() => window.spoken.push(live.textContent)).observe(live, {childList: true});
    }""")
    assert live.get_attribute("aria-live") == "polite"
    page.focus("#moving-noise-level")
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    for _ in range(50):  # the policy of the pages forbids `wait_for_function`
        if page.evaluate("window.spoken.length"):
            break
        page.wait_for_timeout(100)
    assert page.evaluate("window.spoken") == [said.inner_text()]
    assert page.locator("#moving-noise output:not([aria-live=off])").count() == 0


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_follows_the_theme_and_never_moves_by_itself(browser_page, address_of, name):
    page, _, errors = browser_page(address_of[name])
    ink = f"getComputedStyle(document.querySelector('#moving-{name} .moving-board text')).fill"
    drawn = f"document.querySelector('#moving-{name}').innerHTML"
    light, before = page.evaluate(ink), page.evaluate(drawn)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(ink) != light
    page.wait_for_timeout(300)
    assert page.evaluate(drawn) == before
    assert page.evaluate(f"document.querySelector('#moving-{name}').getAnimations({{subtree: true}}).length") == 0
    assert errors == []


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_phone_at_both_ends_of_every_slider(browser_page, address_of, name):
    page, others, errors = browser_page(address_of[name], width=390)
    for slider in page.locator(f"#moving-{name} input[type=range]").all():
        for end in ("Home", "End"):
            slider.press(end)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert not re.search("NaN|undefined", page.locator(f"#moving-{name}").inner_html())
    board = page.locator(f"#moving-{name} .moving-board").first.bounding_box()
    assert board["width"] > 300
    assert (others, errors) == ([], [])


@pytest.mark.parametrize("name", FIGURES)
def test_without_javascript_words_are_left(browser_page, address_of, name):
    page, others, errors = browser_page(address_of[name], javascript=False)
    figure = page.locator(f"#moving-{name}")
    assert len(figure.locator(".moving-still").inner_text()) > 80
    assert figure.locator(".moving-board").count() == 0
    assert (others, errors) == ([], [])


def test_the_library_is_loaded_where_there_is_a_figure_and_nowhere_else(browser_page, address_of):
    loaded = "() => performance.getEntriesByType('resource').filter(({name}) => name.includes('moving.js')).length"
    assert browser_page(address_of["ellipse"])[0].evaluate(loaded) == 1
    assert browser_page("book/glossary")[0].evaluate(loaded) == 0


def test_a_figure_also_works_from_a_file(site, browser, address_of):
    opened = browser.new_context().new_page()
    opened.goto((site / f"{address_of['ellipse']}.html").as_uri())
    opened.locator("#moving-ellipse").scroll_into_view_if_needed()
    opened.wait_for_selector("#moving-ellipse .moving-board svg")
    opened.context.close()
