"""Formulas with short names stand where KaTeX put them, and cut-down fonts keep their letters."""

import io
import json
import shutil
import subprocess

import pytest
from fontTools.ttLib import TTFont

from companion.build import fonts, formulas, markup
from companion.build.node import node_folder
from companion.build.npm import node_modules

TEX = [
    r"\lambda = -\frac{1}{\gamma}\frac{\partial J}{\partial\gamma}",
    r"\sqrt{v^\top\Sigma v} = \sqrt[3]{\frac{a}{b}}",
    r"\sum_{k<K}|d_k|^2 \le \int_0^1 f(x)\,dx",
    r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
    r"\begin{aligned} x &= 1 \\ y &= \hat{z} + \tilde{\theta} \end{aligned}",
    r"\underbrace{a + b}_{\text{signal}} \overline{x_{i_j}} \mathbb{E}\,\mathcal{L}",
    r"\left(\frac{\sigma^2}{1+\sigma^2}\right)^{\!2} \text{ where } R\sigma_t \ne 0",
    r"\begin{cases} 1 & x > 0 \\ 0 & \text{else} \end{cases}",
    r"\big\| \nabla L \big\| \overset{\text{def}}{=} \lim_{n\to\infty} \max_v \dot{v}'",
]
SCRIPT = """
const katex = require(process.argv[1]);
const tex = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(tex.map((one, i) => katex.renderToString(one, { displayMode: i % 2 === 0 }))));
"""


@pytest.fixture(scope="module")
def katex():
    return node_modules() / "katex" / "dist"


@pytest.fixture(scope="module")
def page(katex):
    node = shutil.which("node", path=str(node_folder()))
    command = [node, "-e", SCRIPT, str(katex / "katex.js")]
    done = subprocess.run(command, input=json.dumps(TEX), capture_output=True, text=True, check=True)
    return "<br>".join(json.loads(done.stdout))


@pytest.fixture
def places(browser, katex, tmp_path):
    """Left, top, width and height of every formula and of every letter in it."""

    def measured(text, css):
        css = css.replace("url(fonts/", f"url({katex.as_uri()}/fonts/")
        (tmp_path / "page.html").write_text(f"<!DOCTYPE html><meta charset=utf-8><style>{css}</style><body>{text}")
        view = browser.new_page()
        view.goto((tmp_path / "page.html").as_uri())
        view.evaluate("document.fonts.ready")
        found = view.evaluate(
            """() => {
                const found = [];
                for (const formula of document.querySelectorAll(".katex-html")) {
                    const walker = document.createTreeWalker(formula, NodeFilter.SHOW_TEXT);
                    while (walker.nextNode()) {
                        for (let i = 0; i < walker.currentNode.length; i++) {
                            const range = document.createRange();
                            range.setStart(walker.currentNode, i);
                            range.setEnd(walker.currentNode, i + 1);
                            const box = range.getBoundingClientRect();
                            found.push([box.x, box.y, box.width, box.height]);
                        }
                    }
                }
                return found;
            }"""
        )
        view.close()
        return found

    return measured


def moved(before, after):
    assert len(before) == len(after) > 100
    return max(abs(a - b) for one, other in zip(before, after) for a, b in zip(one, other))


def test_every_letter_stands_where_it_stood(page, katex, places):
    css = (katex / "katex.min.css").read_text()
    pages, short = formulas.lighter({"page": page, "same": page}, css)
    made = markup.compact(pages["page"])
    assert len(made) < 0.8 * len(markup.compact(page))
    assert moved(places(page, css), places(made, short)) < 0.1  # pixels


def test_control_a_style_that_does_not_bind_is_noticed(page, katex, places, monkeypatch):
    monkeypatch.setattr(formulas, "_binding", lambda style: "")
    css = (katex / "katex.min.css").read_text()
    pages, short = formulas.lighter({"page": page, "same": page}, css)
    assert moved(places(page, css), places(markup.compact(pages["page"]), short)) > 1


def test_a_font_keeps_the_letters_that_are_asked_for_and_no_others(katex):
    path = katex / "fonts" / "KaTeX_Main-Regular.woff2"
    made = fonts.with_characters(path, "aλ1")
    assert made == fonts.with_characters(path, "aλ1")
    letters = TTFont(io.BytesIO(made)).getBestCmap()
    assert set("a1") <= set(map(chr, letters)) and "b" not in map(chr, letters)
    assert len(made) < path.stat().st_size / 4
