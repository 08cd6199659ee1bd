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
# # Momentum, and how far a step turns the weights
#
# Builds on {doc}`depth`.
# After it you can compute how far a step turns normalized weights, from learning rate, decay and momentum.
#
# The loss does not see how long the raw weights in front of batch normalization (BN) are
# ({prf:ref}`thm-depth`). So weight decay on them cannot make the function small. It sets how far a
# step *turns* them. How far exactly, once momentum mixes the gradients of many steps?
#
# There is an answer that needs no model of the gradients at all: on average a squared step is
# $2\eta a/(1 + \mu)$ of the squared length, whatever the loss, the data and the clipping. It is a
# statement about learning rate $\eta$, weight decay $a$ and momentum $\mu$, three numbers of every
# training script.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k", "fashion-mnist"
train_size = 3000  # images that are trained on
seeds = [0, 1, 2]  # of initial weights and batches
hidden = [32, 32]  # units of the hidden layers
steps = 500  # of each training; what is averaged is the second half
settings = [
    [0.3, 0.02, 0.0],
    [0.3, 0.01, 0.5],
    [0.1, 0.02, 0.9],
]  # learning rate, weight decay, momentum

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bnlib import data, models, theory, training
from companion.figures import Picture
from companion.page import check, finding, table
from companion.records import Source, name_of
from companion.statistics import as_text

torch.set_num_threads(1)
digits = data.load(dataset)
inputs = torch.from_numpy(training.standardize(digits)["train"][:train_size]).double()
labels = torch.from_numpy(digits.train.labels[:train_size])
on = name_of(dataset)

# %% [markdown]
# ## The theorem
#
# In words: with weight decay, length is lost at a steady pace, and only steps across the weights can
# bring it back. So in the long run the steps are as long as the loss of length asks.
#
# :::{prf:theorem} Momentum and the mean turn
# :label: thm-momentum
# Let $w$ be weights whose length $J$ does not see: a unit before BN with $\varepsilon = 0$, or all
# weights of a layer before layer normalization. Let `torch.optim.SGD` move them, with constant
# learning rate $\eta$, weight decay $a$ and momentum $\mu\in[0, 1)$:
#
# $$b_k = \mu\,b_{k-1} + g_k + a\,w_k, \qquad w_{k+1} = w_k - \eta\,b_k, \qquad b_{-1} = 0,$$
#
# where $g_k$ is any multiple of $\nabla_w J$ at $w_k$: of any batch, clipped or scaled. Write
# $d_k = w_{k+1} - w_k$ and $A_k = |w_k|^2$, with $d_{-1} = 0$ and $A_{-1} = A_0$. Then
#
# 1. *(Every step.)*
#    $|d_k|^2 + \mu|d_{k-1}|^2 = (A_{k+1} - A_k) - \mu(A_k - A_{k-1}) + 2\eta a A_k$.
# 2. *(Every training.)* After $K$ steps
#
#    $$(1+\mu)\sum_{k<K}|d_k|^2 - \mu|d_{K-1}|^2 = (A_K - A_0) - \mu(A_{K-1} - A_0) + 2\eta a\sum_{k<K} A_k .$$
#
# 3. *(In the long run.)* If lengths stay between positive bounds,
#
#    $$\frac{\sum|d_k|^2}{\sum|w_k|^2} \;\longrightarrow\; \frac{2\eta a}{1 + \mu}.$$
#
# 4. *(Decoupled decay.)* For $w_{k+1} = p\,w_k - \eta m_k$ with $p = 1 - \eta a$ and
#    $m_k = \mu m_{k-1} + (1 - \mu) g_k$, and lengths between positive bounds,
#
#    $$\frac{\sum|\eta m_k|^2}{\sum|w_k|^2} \;\longrightarrow\; \frac{(1-p^2)(1-\mu p)}{1+\mu p} \approx 2\eta a\,\frac{1-\mu}{1+\mu}.$$
# :::
#
# :::{dropdown} Proof
# **1.** $J(\tau w) = J(w)$ for $\tau > 0$, so $w^\top\nabla_w J = 0$ and $g_k^\top w_k = 0$. As
# $d_k = -\eta b_k$,
#
# $$d_k = \mu\,d_{k-1} - \eta\,g_k - \eta a\,w_k .$$
#
# Take the product with $w_k$: the gradient drops out, $w_k^\top d_k = \mu\,w_k^\top d_{k-1} - \eta a A_k$.
# From $w_{k+1} = w_k + d_k$ follows $2\,w_k^\top d_k = A_{k+1} - A_k - |d_k|^2$, and from
# $w_{k-1} = w_k - d_{k-1}$ follows $2\,w_k^\top d_{k-1} = A_k - A_{k-1} + |d_{k-1}|^2$. Insert both and
# multiply by two. For $k = 0$ the terms with $k - 1$ are zero on both sides.
#
# **2.** Add up part 1 over $k = 0, \dots, K-1$. The differences of lengths telescope, and
# $\sum_{k<K}|d_{k-1}|^2 = \sum_{k<K}|d_k|^2 - |d_{K-1}|^2$.
#
# **3.** Divide part 2 by $\sum A_k$, which grows like $K$. The differences of lengths stay bounded. So does
# $|d_{K-1}| \le |w_K| + |w_{K-1}|$.
#
# **4.** Write $u_k = \eta m_k$ and $y_k = w_k^\top u_k$. As $g_k^\top w_k = 0$,
# $y_k = \mu\,w_k^\top u_{k-1} = \mu\,(p\,w_{k-1} - u_{k-1})^\top u_{k-1} = \mu\,(p\,y_{k-1} - |u_{k-1}|^2)$. Added up
# and divided by $K$, the means $\bar y$ and $\bar u$ of $y_k$ and $|u_k|^2$ satisfy
# $\bar y\,(1 - \mu p) = -\mu\bar u + o(1)$. And $A_{k+1} = p^2 A_k - 2p\,y_k + |u_k|^2$ gives
# $(1 - p^2)\bar A = \bar u - 2p\,\bar y + o(1) = \bar u\,\frac{1 + \mu p}{1 - \mu p} + o(1)$. $\square$
# :::
#
# With $\varepsilon > 0$ the product $w^\top\nabla_w J$ is not zero but the gauge term of
# {prf:ref}`thm-depth`, and $-2\eta\,w_k^\top g_k$ joins the right-hand side of part 1.
#
# ## Check it in five lines
#
# The forces need not come from a network. Any that stand across the weights will do. Change the rule
# of the force, the momentum, the decay.

# %%
rng, w, buffer, path = np.random.default_rng(0), np.array([1.0, 2.0, 2.0]), 0, []
for _ in range(200):
    path.append(w)
    force = np.cross(w, rng.normal(size=3))
    buffer = 0.9 * buffer + force + 0.02 * w
    w = w - 0.1 * buffer
theory.turn_balance([*path, w], learning_rate=0.1, weight_decay=0.02, momentum=0.9)

# %% [markdown]
# ## Layers on digits
#
# The same in networks on real digits, with BN and with layer normalization. Of each hidden layer we keep
# every step of its weights. First part 2, which holds for every training, unit by unit behind BN and
# for the whole layer behind layer normalization.


# %% tags=["hide-input"]
def paths(normalization, learning_rate, weight_decay, momentum, seed, adamw=False):
    """The weights of each hidden layer before and after every step, unit by unit behind BN, else in one row."""
    model = models.network((784, *hidden, 10), normalization, eps=1e-30, seed=seed).double()
    layers = [layer for layer in model[:-1] if isinstance(layer, nn.Linear)]
    for layer in layers:
        layer.bias = (
            None  # in front of a normalization it would be a column of the weights, or nothing
        )
    weights = [layer.weight for layer in layers]
    others = [p for p in model.parameters() if all(p is not weight for weight in weights)]
    groups = [
        {"params": weights, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if adamw:
        optimizer = torch.optim.AdamW(groups, learning_rate, betas=(momentum, 0.999))
    else:
        optimizer = torch.optim.SGD(groups, learning_rate, momentum)
    epochs = 1 + steps // (train_size // 128)
    seen = [[weight.detach().numpy().copy()] for weight in weights]
    for _, (x, target) in zip(
        range(steps), training.batches(inputs, labels, 128, epochs, [seed, 1])
    ):
        optimizer.zero_grad()
        cross_entropy(model(x), target).backward()
        optimizer.step()
        for path, weight in zip(seen, weights):
            path.append(weight.detach().numpy().copy())
    shape = (steps + 1, -1) if normalization == "layer" else None
    return [np.stack(path) if shape is None else np.stack(path).reshape(shape) for path in seen]


def mean_turn(path, kept=1.0):
    """Squared steps over squared lengths in the second half, beside what a decoupled decay leaves of the weights."""
    late = path[steps // 2 :]
    return np.square(late[1:] - kept * late[:-1]).sum() / np.square(late[:-1]).sum()


adam = [0.003, 2.0, 0.9]  # AdamW's learning rate is that of a coordinate
rows, sides = [], {}
for way, normalization, tried in (
    ("BN", "batch", settings),
    ("layer normalization", "layer", settings),
    ("BN, AdamW", "batch", [adam]),
):
    decoupled = tried == [adam]
    for setting in tried:
        learning_rate, weight_decay, _ = setting
        law = theory.mean_turn(*setting, decoupled=decoupled)
        for seed in seeds:
            for path in paths(normalization, *setting, seed, adamw=decoupled):
                turn = mean_turn(path, 1 - learning_rate * weight_decay if decoupled else 1.0)
                rows.append({"way": way, "seed": seed, "law": law, "ratio": turn})
                if not decoupled:
                    sides.setdefault(way, []).append(theory.turn_balance(path, *setting))
turns = pd.DataFrame(rows).astype({"law": float, "ratio": float})
source = Source(
    dataset,
    train_size,
    seeds,
    {"network": "-".join(map(str, [784, *hidden, 10])), "steps": steps},
)

# %% tags=["hide-input"]
balanced = [
    check(
        "momentum",
        f"Torch on {on}, {name}, all settings, layers and seeds: steps along a training against lengths and decay",
        *(np.concatenate([np.ravel(part) for part in side]) for side in zip(*found)),
        tolerance=1e-12,
        source=source,
    )
    for name, found in sides.items()
]
finding(
    "Steps, lengths and decay balance in {count} kinds of networks, at every momentum, to {worst:.0e}.",
    *balanced,
)

# %% [markdown]
# Then part 3: the mean over the second half of training against $2\eta a/(1 + \mu)$. The law is one of
# the long run; these trainings are short, and what is left of their start is a difference of lengths
# over a sum of them.

# %% tags=["hide-input"]
picture = Picture(height=3.4)
(panel,) = picture
for (way, part), color in zip(turns.groupby("way", sort=False), ("batch", "signal", "l2")):
    panel.dots(part.law, part.ratio, way, color)
ends = np.array([turns.law.min() / 1.5, turns.law.max() * 1.5])
panel.line(ends, ends, "the law", "theory")
panel.set(
    xlabel="what the law says", ylabel="mean squared step over squared length",
    xscale="log", yscale="log", legend={"fontsize": 9},
)  # fmt: skip
picture.show(
    says="Weights turn by steps over lengths, as the law says; AdamW has another law."
    " A dot is a hidden layer in one training: squared steps over squared lengths in its second half,"
    " against the law. For AdamW the law is that of one common divisor.",
    source=source,
    name="momentum-turn",
)
over_law = turns.assign(over=turns.ratio / turns.law)
by_seed = over_law.groupby(["way", "seed"]).over.mean().unstack("seed")
table(
    pd.DataFrame(
        {"ratio over law": [as_text(row, scale="log") for row in by_seed.to_numpy()]},
        index=by_seed.index,
    ),
    "Mean over layers and settings, with 95 % intervals over seeds.",
    source,
)

# %% tags=["hide-input"]
near = [
    check(
        "momentum",
        f"{way} on {on}: mean squared step over mean squared length in the second half of training, over the law,"
        " mean over layers and settings",
        by_seed.loc[way].to_numpy(),
        1.0,
        kind="empirical",
        tolerance=tolerance,
        scale="log",
        role=role,
        source=source,
    )
    for way, tolerance, role in (
        ("BN", 0.05, "exploratory"),
        ("layer normalization", 0.05, "exploratory"),
        ("BN, AdamW", 0.05, "assumption"),
    )
]
said = " {bn:.3f} of the law with BN, {ln:.3f} with layer normalization, {adam:.3f} under AdamW, which divides each weight by a number of its own."
finding(
    "The second half of a short training turned its weights by" + said,
    *near,
    bn=near[0].measured,
    ln=near[1].measured,
    adam=near[2].measured,
)

# %% [markdown]
# ## What it means for your network
#
# - In front of BN, `weight_decay` is a learning rate in disguise: learning rate times weight decay, over
#   one plus momentum, is what counts. Change one and keep the turn by changing the other.
# - At momentum 0.9, learning rate 0.1 and weight decay $5\cdot10^{-4}$, a step turns a unit by about
#   $\sqrt{2 \cdot 0.1 \cdot 5\cdot10^{-4}/1.9} = 0.007$ radians, whatever the loss.
# - The same holds behind layer normalization, for the layer as a whole.
# - Exempting these weights from decay does not leave the function less regularized. It lets their
#   length grow and the steps fade ({prf:ref}`thm-depth`).
#
# ## What we learned
#
# - The gradient does no work along the weights. So what decay takes from their length, steps across
#   them give back, and the mean squared turn is $2\eta a/(1 + \mu)$ exactly.
# - No property of the data enters, and none of the loss. It is bookkeeping, like the ledger of
#   {doc}`depth`.
#
# ## Where it stops
#
# - It is a mean square over a training, not the angle of a single step, and says nothing of the
#   direction.
# - It needs a decay and constant settings. With a schedule, each step has to be divided by its own
#   learning rate, and a term with the change of $1/\eta$ stays.
# - Nesterov's momentum has no such form. AdamW's division by coordinate makes its update lean on the
#   weights; then the common-divisor law is an approximation. {cite:t}`wan2020` and
#   {cite:t}`kosson2023` study these.
#
# ## Exercises
#
# **1. Derive.** Dampening: torch's $b_k = \mu b_{k-1} + (1 - D)(g_k + a w_k)$. Show that part 3 holds with
# $(1 - D)\eta$ for $\eta$.
#
# :::{dropdown} Solution
# $b_k' = b_k/(1 - D)$ follows the rule without dampening, and $w_{k+1} = w_k - (1 - D)\eta\,b_k'$. So it is
# the undampened training with the learning rate $(1 - D)\eta$, but for the first step, which torch does
# not dampen; one step does not count in the long run.
# :::
#
# **2. Run.** Set `steps = 100`. Does the balance of part 2 still hold? Does the ratio still lie on the law?
#
# :::{dropdown} Solution
# The balance holds after any number of steps. The ratio does not: it takes about $1/(4\eta a)$ steps, some
# tens here, until lengths have settled, and with few steps the difference of lengths, over their sum,
# is not small.
# :::
