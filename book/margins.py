# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Margins: is uniform good?
#
# Builds on {doc}`least-squares`, {doc}`noise` and {doc}`cross-entropy`.
# After it you can say where the direction of a classifier with BN goes, and whether its margin is large.
#
# Give a linear classifier more inputs than images and it can fit every label without error. Without
# batch normalization (BN), training then goes on for ever and its direction tends to the one of the largest margin. With
# BN the length is fixed. Where does the direction go, and can the scale $\gamma$ or a decay on it
# send it somewhere better?
#
# It goes to least squares, at *every* $\gamma$ and for every margin loss: all images of a class get the same margin.
# No choice of $\gamma$ changes that. Is it a good place, and does noise on the inputs lead to a better one?

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k", "fashion-mnist"
classes = [3, 8]  # the two that are told apart
rows = [50, 100, 200, 300, 400]  # images to train on; there are 784 inputs
draws = 10  # of the images, behind every interval
noise_std = 0.3  # on the inputs, in units of a pixel's full brightness
descent_rows = 200  # images for gradient descent
descent_steps = 4000

# %% tags=["hide-input"]
from itertools import repeat

import numpy as np
import pandas as pd
import torch
from sklearn.svm import SVC
from torch import nn
from torch.nn import functional

from bnlib import data, theory, training
from companion.figures import Picture
from companion.page import check, finding, sentence
from companion.records import Source, name_of
from companion.statistics import as_text

torch.set_num_threads(1)
loaded = data.load(dataset)
on = name_of(dataset)


def two_classes(part):
    """Pixels from 0 to 1, and labels 1 and -1, of the two classes."""
    kept = np.isin(part.labels, classes)
    return part.images[kept].astype(np.float64), np.where(
        part.labels[kept] == classes[0], 1.0, -1.0
    )


train, test = two_classes(loaded.train), two_classes(loaded.test)
source = Source(
    dataset, None, range(draws), {"train_sizes": rows, "classes": classes, "inputs": 784}
)

# %% [markdown]
# ## The theorem
#
# In words: a margin loss wants every row far on its right side. BN gives the unit a fixed amount of spread. The best use
# of it is to waste none inside a class.
#
# :::{prf:theorem} Margins
# :label: thm-margins
# Labels $t = \pm1$, a share $\pi$ of them $+1$, so $\sigma_t = 2\sqrt{\pi(1-\pi)}$. All rows are one batch. A unit has BN with
# $\varepsilon = 0$, a fixed $\gamma > 0$ and a learned $\beta$; its outputs are $y_i$, its margins $t_iy_i$. The loss is the mean of
# $f(t_iy_i)$, with $f$ convex, strictly decreasing and bounded below.
#
# 1. *(Bound.)* Whatever the weights and the shift, $\min_i t_iy_i \le \gamma/\sigma_t$, with equality if and only if outputs are
#    constant within each class, at $\pm\gamma/\sigma_t$.
# 2. *(Interpolation.)* Let some weights fit the labels without error: $R = 1$. Then for every $\gamma$ and every such $f$ the
#    minimizers are $v = (\gamma/\sigma_t)\,\Sigma^+c$, up to the null space of $\Sigma$. Outputs are constant within each class; the margins are
#
#    $$m_+ = \gamma\sqrt{(1-\pi)/\pi} + \beta, \qquad m_- = \gamma\sqrt{\pi/(1-\pi)} - \beta .$$
#
#    For logistic loss $\beta$ solves $\pi/(1 + e^{m_+}) = (1-\pi)/(1 + e^{m_-})$, and
#    $\lambda = \frac{\sqrt{\pi(1-\pi)}}{\gamma}\Big(\frac1{1+e^{m_+}} + \frac1{1+e^{m_-}}\Big)$.
# 3. *(Many classes.)* For softmax cross-entropy on $K$ balanced classes that can be fitted without error, every logit with BN at
#    the same $\gamma$: $y_j = \text{const} + \gamma\,(K\,1\{t = j\} - 1)/\sqrt{K-1}$, a simplex, at every $\gamma$.
# :::
#
# :::{dropdown} Proof
# **1.** The outputs' variance is $\gamma^2$. It is at least the variance between the classes, $\pi(1-\pi)(\bar y_+ - \bar y_-)^2$. If
# all margins are at least $m > 0$, then $\bar y_+ - \bar y_- \ge 2m$, so $\gamma^2 \ge 4\pi(1-\pi)m^2 = \sigma_t^2m^2$. Equality
# needs no variance within classes and $\bar y_\pm = \pm m$.
#
# **2.** Take any outputs of variance $\gamma^2$ on the rows, about the mean $\beta$. Replace each by the mean of its class. By
# Jensen's inequality the loss does not grow, and the variance falls unless nothing changed. If it fell, stretch the outputs about
# their mean, the $+$ class above, until it is $\gamma^2$ again: every margin grows by that, and the loss falls strictly, since $f$
# does. So a minimizer is constant within classes
# with the $+$ class above (if it is below, reflecting about the mean makes all margins larger). With two values, of frequencies $\pi$ and $1-\pi$ and of mean $\beta$ and variance $\gamma^2$,
# they are $\beta + \gamma\sqrt{(1-\pi)/\pi}$ and $\beta - \gamma\sqrt{\pi/(1-\pi)}$. Such outputs are an affine function of the labels, and
# can be reached, as $R = 1$; they determine $v'x$ on the rows, hence $v$ up to the null space of $\Sigma$, and $\Sigma^+c$ gives the labels'
# own fit. What is left is a convex problem in $\beta$, whose
# derivative $\pi f'(m_+) - (1-\pi) f'(m_-)$ is zero; for $f(m) = \log(1 + e^{-m})$ it is the equation above. And
# $\lambda = -\frac1\gamma\,\partial J/\partial\gamma$ with
# $\partial m_+/\partial\gamma = \sqrt{(1-\pi)/\pi}$ and $\partial m_-/\partial\gamma = \sqrt{\pi/(1-\pi)}$ ($\beta$ at rest).
#
# **3.** Jensen's inequality within classes again: outputs may be taken constant there, $y_j(i)$ the logit $j$ of class $i$, and the
# rows of the $K\times K$ matrix have variance at most $\gamma^2$. On that convex set the loss is convex and unchanged when classes
# are renamed, so its mean over all renamings is no worse: $y_j(i) = b + h\,1\{i = j\}$. The loss falls in $h$, so $h$ is as large as the variance
# allows: $h^2(K-1)/K^2 = \gamma^2$. Strict convexity up to a common shift excludes others. $\square$
# :::
#
# ## Check it in five lines
#
# Torch's own layer at rest, on ten rows with twenty inputs. All margins of a class are one number, and
# the closed form has it. Change $\gamma$, the share of each class, the inputs.

# %%
torch.manual_seed(0)
gamma, x, t = 1.5, torch.randn(10, 20).double(), torch.tensor([1.0] * 3 + [-1.0] * 7).double()
norm, w = (
    nn.BatchNorm1d(1, eps=1e-30).double(),
    nn.Parameter((t @ torch.randn(10, 20).double())[None]),
)
norm.weight.data.fill_(gamma)
for _ in range(5):
    w.data /= w.data.norm()
    training.settle([w, norm.bias], lambda: functional.softplus(-t * norm(x @ w.T)[:, 0]).mean())
margins = (t * norm(x @ w.T)[:, 0]).detach().numpy()
print(margins.round(6), theory.uniform_margins(0.3, gamma))

# %% tags=["hide-input"]
found = theory.uniform_margins(0.3, gamma)
closed = check(
    "margins",
    "Torch's BatchNorm1d with logistic loss at rest, ten rows and twenty inputs: every margin",
    margins,
    np.where(t.numpy() > 0, found.positive, found.negative),
    tolerance=1e-7,
)
digits_x, digits_t = (array[:150] for array in train)
centred = digits_x - digits_x.mean(axis=0)
fitted = centred @ (np.linalg.pinv(centred) @ (digits_t - digits_t.mean()))
check(
    "margins",
    f"150 images of {on}: the fit of least squares against the labels that it interpolates",
    fitted,
    digits_t - digits_t.mean(),
    tolerance=1e-8,
    source=Source(dataset, 150, conditions={"classes": classes}),
)
finding(
    "A unit with BN that can fit its labels gives every row of a class the same margin, at every γ and"
    " for every margin loss: torch's layer comes there to {difference:.0e}.",
    closed,
)

# %% [markdown]
# ## Is a uniform margin good?
#
# Three classifiers on the same few images: BN's limit, which is least squares with nothing left over; the
# largest margin, which is where training without BN tends; and BN's limit with noise on the inputs,
# $(\Sigma + \sigma^2I)^{-1}c$ ({prf:ref}`thm-noise`). The test images are clean.


# %% tags=["hide-input"]
def test_errors(count, draw):
    rng = np.random.default_rng([draw, count])
    picked = rng.permutation(len(train[0]))[:count]
    x, t = train[0][picked], train[1][picked]
    mean = x.mean(axis=0)
    centred = x - mean
    gram = centred @ centred.T  # in the rows' span, where there are fewer numbers
    largest = SVC(kernel="linear", C=1e6).fit(x, t)

    def wrong(answers):
        return float((np.sign(answers) != test[1]).mean())

    errors = {"largest margin, without BN": wrong(largest.decision_function(test[0]))}
    for name, level in (("BN's limit", 0.0), (f"BN's limit, noise {noise_std:g}", noise_std)):
        dual = np.linalg.lstsq(gram + count * level**2 * np.eye(count), t - t.mean(), rcond=1e-10)[
            0
        ]
        # the shift is the one that BN learns; a long output makes it that of equal margins
        own = centred @ (centred.T @ dual)
        middle = (own[t > 0].mean() + own[t < 0].mean()) / 2
        errors[name] = wrong((test[0] - mean) @ (centred.T @ dual) - middle)
    return errors


errors = pd.DataFrame(
    {"rows": count, "draw": draw} | test_errors(count, draw)
    for count in rows
    for draw in range(draws)
)
ways = [name for name in errors.columns if name not in ("rows", "draw")]
picture = Picture(height=3.4)
(panel,) = picture
for name, color, marker in zip(ways, ("none", "batch", "noise"), "s^o"):
    panel.band(
        rows, 100 * errors.pivot(index="draw", columns="rows", values=name), name, color, marker
    )
panel.set(
    xlabel="images to train on",
    ylabel="test error, percent",
    ylim=(0, None),
    legend={"fontsize": 9},
)
picture.show(
    says="On few images BN without noise ends far from the largest margin, and errs more."
    f" {classes[0]} against {classes[1]}, 784 pixels: test error of three linear classifiers that fit all their"
    " images, or nearly so with noise.",
    source=source,
    name="margins-error",
)

# %% tags=["hide-input"]
most = errors[errors.rows == rows[-1]].set_index("draw")
limit, noisy = (
    f"BN's limit on {on}, {rows[-1]} images",
    f"BN's limit with noise {noise_std:g} on {on}, {rows[-1]} images",
)
worse, cured = (
    check(
        "margins",
        f"{words}: test error in points minus that of {other}",
        100 * (most[first] - most[second]).to_numpy(),
        0.0,
        kind="empirical",
        relation=relation,
        source=source,
    )
    for words, first, second, other, relation in (
        (limit, "BN's limit", ways[0], "the largest margin", "above"),
        (noisy, ways[2], "BN's limit", "BN's limit without noise", "below"),
    )
)
numbers = {
    "limit": 100 * most["BN's limit"].mean(),
    "largest": 100 * most[ways[0]].mean(),
    "count": rows[-1],
}
finding(
    {
        "borne out": "Uniform margins are worse than a large one: with {count} images BN's limit errs on {limit:.1f} % of new"
        " ones, the largest margin on {largest:.1f} % (difference {interval:.1f} points).",
        "not borne out": "With {count} images BN's limit errs on {limit:.1f} % of new ones, fewer than the largest margin with"
        " {largest:.1f} % (difference {interval:.1f} points).",
        "undecided": "With {count} images BN's limit errs on {limit:.1f} % of new ones and the largest margin on {largest:.1f} %;"
        " {repetitions} draws cannot tell them apart (difference {interval:.1f} points).",
    },
    worse,
    **numbers,
)
finding(
    {
        "borne out": "Noise on the inputs cures what γ cannot: that error changes by {interval:.1f} points.",
        "not borne out": "Noise on the inputs does not help there: that error changes by {interval:.1f} points.",
        "undecided": "Whether noise on the inputs helps there, {repetitions} draws cannot say: {interval:.1f} points.",
    },
    cured,
)

# %% [markdown]
# ## Does training get there?
#
# The limit may lie beyond any training. Gradient descent on the same images, once from short raw weights with a
# small step, and once as one would train. The spread of margins over their mean is 0 in the limit.

# %% tags=["hide-input"]
picked = np.random.default_rng(0).permutation(len(train[0]))[:descent_rows]
x, t = (torch.from_numpy(array[picked]) for array in train)
looks = np.unique(np.geomspace(1, descent_steps, 40).astype(int))


def spread(start, learning_rate):
    """Standard deviation over mean of the margins, at the looks."""
    torch.manual_seed(0)
    unit = nn.Sequential(nn.Linear(784, 1, bias=False), nn.BatchNorm1d(1)).double()
    unit[0].weight.data *= start
    seen = []

    def observe(step, model):
        if step in looks:
            margins = t * model(x)[:, 0].detach()
            seen.append(float(margins.std(correction=0) / margins.mean()))

    training.fit(
        unit,
        repeat((x, t), descent_steps),
        lambda outputs, labels: functional.softplus(-labels * outputs[:, 0]).mean(),
        learning_rate,
        momentum=0.9,
        parameters=[unit[0].weight, unit[1].bias],
        observe=observe,
    )
    return seen


slow, usual = spread(0.05, 0.001), spread(1.0, 0.5)
picture = Picture(height=3.0)
(panel,) = picture
panel.line(looks, slow, "short start, small step", "batch")
panel.line(looks, usual, "usual start, large step", "none")
panel.set(
    xlabel="steps",
    ylabel="spread of margins over mean",
    xscale="log",
    yscale="log",
    legend={"fontsize": 9},
)
picture.show(
    says="Raw weights grow where a step is large, and the step that counts shrinks."
    f" Gradient descent with BN on {descent_rows} images. Where a step is large, raw weights grow and the step"
    " that counts shrinks with the square of their length.",
    source=Source(dataset, descent_rows, [0], {"classes": classes, "steps": descent_steps}),
    name="margins-descent",
)

# %% [markdown]
# ## What it means for your network
#
# - Do not hope for $\gamma$, or a decay on it, where a unit can fit everything: they change how certain the unit is and not what it
#   thinks.
# - What changes the direction is what changes $\Sigma$ or stops the fit: noise on the inputs (augmentation), fewer inputs, fewer steps.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"With {rows[-1]} images the test error was {as_text(100 * most[ways[1]], '{:.1f}')} % in BN's limit,"
    f" {as_text(100 * most[ways[0]], '{:.1f}')} % at the largest margin and {as_text(100 * most[ways[2]], '{:.1f}')} % in BN's limit"
    f" with noise. Gradient descent came to a spread of margins of {slow[-1]:.2f} of their mean from a short start, and of"
    f" {usual[-1]:.2f} as one would train."
)

# %% [markdown]
# ## Where it stops
#
# - One batch of all rows, one linear unit. In a network the inputs of the last layer move.
# - The theorem is about the minimizer; {cite:t}`cao2023` show that gradient descent gets to uniform margins, and how fast.
# - Where $R < 1$ but the classes can be separated, margins are not uniform: as $\gamma$ grows, the direction tends to the largest
#   margin in the norm $v'\Sigma v$, for losses with an exponential tail.
#
# ## Exercises
#
# **1. Derive.** Let $\gamma\to\infty$ with logistic loss. Show that the two margins differ by $\log(\pi/(1-\pi))$ in the limit. Which class
# gets the larger one?
#
# :::{dropdown} Solution
# Both margins grow without bound, so $1/(1 + e^m) \to e^{-m}$ and the equation for $\beta$ becomes
# $\pi e^{-m_+} = (1-\pi)e^{-m_-}$, that is $m_+ - m_- = \log(\pi/(1-\pi))$. The larger class gets the larger margin.
# :::
#
# **2. Run.** Set `noise_std = 1.0`. Does the error with noise still fall with more images? Is it better or worse than at 0.3 with
# few?
#
# :::{dropdown} Solution
# It still falls: noise of any size keeps $\Sigma + \sigma^2I$ away from singular, and that is what the rise came from. But so much noise
# also damps directions that carry signal, so the error ends higher than at 0.3.
# :::
