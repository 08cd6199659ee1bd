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
# # Depth, and the length that nobody sees
#
# Builds on {doc}`rate` and {doc}`stationarity`.
# After it you know which identities hold in every layer of a deep network.
#
# So far one layer had batch normalization (BN). Does any of it survive in a deep network, where the
# inputs of a layer are themselves normalized, rectified and moving? All of it does, exactly, unit by
# unit, and without any assumption of width.
#
# Depth does bring two new things. The length of the raw weights has become invisible to the
# function, so it drifts, and with it the true step size. And BN behind BN makes a layer's own scale
# invisible as well, which ties the rates of its units together: at the usual start they cannot all
# be positive. Both are identities that can be read off any network.

# %% tags=["parameters"]
dataset = "mnist"  # or "mnist-5k": see bnlib.data.load
seeds = [0, 1, 2]  # of initial weights and batches
hidden = [64, 64, 64]  # units in each hidden layer
epochs = 1  # passes over the training digits
learning_rate = 0.3  # of plain gradient descent
weight_decays = [0.0, 0.01, 0.03]  # on raw weights, to see their length
steps = 300  # of plain gradient descent, for the same picture

# %% tags=["hide-input"]
from fractions import Fraction
from functools import partial
from itertools import chain, pairwise, repeat

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bnlib import data, experiments, meter, models, theory, training
from companion.figures import Picture
from companion.page import check, finding, sentence
from companion.records import Source
from companion.studies import identities

torch.set_num_threads(1)
cross_entropy = functional.cross_entropy

# %% [markdown]
# ## One layer at a time
#
# Freeze everything but the weights $w$ of one unit. What comes into its layer no longer changes:
# call its covariance over the batch $\Sigma$. What happens above, later BN layers and all, is just a
# loss $L(v)$ of the weights that the unit has after BN is folded away. That is the setting of
# {prf:ref}`thm-rate`, which never asked where its inputs came from.
#
# :::{prf:theorem} Depth, and the gauge
# :label: thm-depth
# Take a BN unit anywhere in a network, with $q = w^\top\Sigma w$ from the batch at hand, in training
# mode. Let $J$ be differentiable.
#
# 1. *(Depth changes nothing.)* With all other parameters held fixed, $\Sigma$ the covariance of the
#    unit's input and $L$ the loss as a function of its folded weights, {prf:ref}`thm-rate` and
#    {prf:ref}`thm-stationarity` hold as they stand. For a convolution "input" means its patches,
#    over all images and positions.
# 2. *(Gauge.)*
#    $\displaystyle w^\top\nabla_w J = \frac{\varepsilon}{q + \varepsilon}\,\gamma\,\frac{\partial J}{\partial\gamma}$.
#    For $\varepsilon = 0$ it is zero: $J$ does not see $|w|$.
# 3. *(Length and step.)* Let $\varepsilon = 0$. A step of plain gradient descent,
#    $w_+ = w - \eta\nabla_w J$, gives
#
#    $$|w_+|^2 = |w|^2 + \eta^2 |\nabla_w J|^2, \qquad \frac{w_+}{|w|} = u - \frac{\eta}{|w|^2}\,\nabla_w J(u), \quad u = \frac{w}{|w|} :$$
#
#    the length only grows, and the direction moves as if the step were $\eta/|w|^2$.
# 4. *(Weight decay on $w$.)* Let $\varepsilon > 0$. Where $\nabla_w J + a_w w = 0$,
#
#    $$\lambda = \frac{a_w\,|w|^2\,(q + \varepsilon)}{\varepsilon\,\gamma^2} .$$
#
# 5. *(BN, ReLU, BN.)* If a BN layer's output goes through a ReLU, or another activation that is positively
#    homogeneous, and into nothing but one linear layer with BN, whose units are numbered by $k$,
#
#    $$\sum_j \gamma_j \frac{\partial J}{\partial\gamma_j} + \beta_j \frac{\partial J}{\partial\beta_j}
#    = \sum_k \frac{\varepsilon}{q_k + \varepsilon}\,\gamma_k\frac{\partial J}{\partial\gamma_k} .$$
#
#    For $\varepsilon = 0$ the right-hand side is zero, so
#    $\sum_j \gamma_j^2\lambda_j = \sum_j \beta_j\,\partial J/\partial\beta_j$.
# :::
#
# :::{dropdown} Proof
# **1.** The layer's inputs, and so $\mu$ and $\Sigma$ of the batch, do not depend on the layer's own
# weights. The unit's output on the batch is $\beta + v^\top(h - \mu)$ with
# $v = \gamma w/\sqrt{q + \varepsilon}$, so $J$ depends on $w$ through $v$ alone: $J = L(v)$. The
# proofs of {prf:ref}`thm-rate` and {prf:ref}`thm-stationarity` use nothing else. Batch statistics of
# later layers are functions of this layer's outputs, part of $L$. A convolution's channel is
# $w^\top h$ with $h$ a patch, padding included, and its BN averages over images and positions, that
# is over all patches.
#
# **2.** By {prf:ref}`thm-rate` $\nabla_w J = (\gamma/s)[\nabla L + \lambda\Sigma v]$ with
# $\lambda\gamma^2 = -v^\top\nabla L$, and $w = (s/\gamma) v$. As
# $v^\top\Sigma v = \gamma^2 q/(q + \varepsilon)$,
#
# $$w^\top\nabla_w J = v^\top\nabla L + \lambda\, v^\top\Sigma v = v^\top\nabla L\Big(1 - \frac{q}{q + \varepsilon}\Big)
# = \frac{\varepsilon}{q + \varepsilon}\,\gamma\,\frac{\partial J}{\partial\gamma},$$
#
# since $\gamma\,\partial J/\partial\gamma = v^\top\nabla L$.
#
# **3.** $|w_+|^2 = |w|^2 - 2\eta\, w^\top\nabla_w J + \eta^2|\nabla_w J|^2$, and the middle term is
# zero by part 2. $J(\tau w) = J(w)$ for $\tau > 0$; differentiated in $w$,
# $\tau\nabla_w J(\tau w) = \nabla_w J(w)$. With $\tau = 1/|w|$: $\nabla_w J(w) = \nabla_w J(u)/|w|$.
# Divide the step by $|w|$.
#
# **4.** Multiply by $w^\top$: $w^\top\nabla_w J = -a_w|w|^2$. By part 2 the left-hand side is
# $-\frac{\varepsilon}{q + \varepsilon}\gamma^2\lambda$.
#
# **5.** Multiply all $\gamma_j, \beta_j$ of the layer by $\tau > 0$. Its outputs, their ReLU
# (positively homogeneous) and the next layer's inputs are multiplied by $\tau$. In the next layer
# that is the same as multiplying all its weights $w_k$ by $\tau$ instead; its bias, if any, is
# subtracted by BN in either case. So $J$ is the same function of $\tau$ both ways. Its derivative at
# $\tau = 1$ is the left-hand side in the first reading and $\sum_k w_k^\top\nabla_{w_k} J$ in the
# second; insert part 2. Finally $\gamma_j\,\partial J/\partial\gamma_j = -\gamma_j^2\lambda_j$.
# $\square$
# :::
#
# Where $J$ has kinks, as with ReLU, parts 1, 2 and 5 hold for whatever autograd returns there: they are
# identities of BN's own Jacobian, for any vector that is passed back. A weight that is used several
# times, each time straight into BN, has the sum over its uses on both sides of part 2; in evaluation
# mode BN is a linear map and the gauge is lost.
#
# Layer normalization is BN transposed. For $z_n = Wh_n$ of row $n$, $k$ units, gains $g$ and
# $e_n = \partial J/\partial y_n$ there is one rate a *row*, shared by the units,
# $\lambda_n = -\frac1k\,\hat z_n^\top(g \odot e_n)$, with
# $\sum_n\lambda_n = -\frac1k\sum_j g_j\,\partial J/\partial g_j$. Its gauge is that of the whole layer:
# $\langle W, \nabla_W J\rangle = 0$ for $\varepsilon = 0$, not row by row of $W$.
#
# ## Check it in five lines
#
# A network of torch's own layers with three BN layers, in float64 and with an $\varepsilon$ that is
# anything but small. Part 2 for the second of them: both columns are the same. Take another layer,
# another loss, another $\varepsilon$.

# %%
torch.manual_seed(0)
deep = models.network((6, 9, 8, 7, 3), eps=0.1, seed=0).double()
for layer in deep:
    if isinstance(layer, nn.BatchNorm1d):
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias)
x, labels = torch.randn(40, 6, dtype=torch.float64), torch.randint(3, (40,))

cross_entropy(deep(x), labels).backward()
below, linear, bn = deep[:3], deep[3], deep[4]
q = linear(below(x)).var(dim=0, correction=0)
radial = (linear.weight * linear.weight.grad).sum(dim=1)
gauge = bn.eps / (q + bn.eps) * bn.weight * bn.weight.grad
torch.stack([radial, gauge], dim=1).detach()

# %% [markdown]
# Now all of it. Every unit of every layer is folded away in turn, and the gradient that torch
# reports is rebuilt from the loss $L$ of the folded network: {prf:ref}`thm-rate`, at depth. A
# convolution is no different. Its units are channels, its inputs are patches.

# %% tags=["hide-input"]
layers = walked = identities.walk(deep, x, labels)
rates, gradients = [], []
for layer, depth in zip(layers, ("first", "second", "third")):
    gradients.append(
        check(
            "depth",
            f"Torch, {depth} of three BN layers, all units: autograd's "
            "gradient against loss plus penalty of the folded unit",
            layer.grad_w,
            layer.rebuilt_grad_w,
            tolerance=1e-12,
        )
    )
    rates.append(
        check(
            "depth",
            f"Torch, {depth} of three BN layers: minus the gradient of gamma "
            "over gamma against the folded unit's rate",
            layer.rate_by_gamma,
            layer.rate,
            tolerance=1e-12,
        )
    )

conv_bn = [nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, eps=0.1)]
nn.init.uniform_(conv_bn[1].weight, 0.5, 1.5)
above = [nn.ReLU(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()]
convolutional = nn.Sequential(*conv_bn, *above, nn.Linear(3 * 16, 3))
images = torch.randn(20, 2, 6, 6, dtype=torch.float64)
channels, _ = identities.walk(convolutional, images, torch.randint(3, (20,)))
gradients.append(
    check(
        "depth",
        "Torch, Conv2d and BatchNorm2d, covariance of the patches: "
        "autograd's gradient against loss plus penalty of the folded "
        "channels",
        channels.grad_w,
        channels.rebuilt_grad_w,
        tolerance=1e-12,
    )
)

# %% [markdown]
# The gauge in every layer: one number a unit on each side. And the balance of BN, ReLU, BN, with the
# exact right-hand side for $\varepsilon > 0$.

# %% tags=["hide-input"]
gauge = check(
    "depth",
    "Torch, three BN layers with eps > 0: w'grad_w J of every unit against the gauge identity",
    np.concatenate([layer.radial for layer in layers]),
    np.concatenate([layer.gauge for layer in layers]),
    tolerance=1e-12,
)
own, carried, _ = identities.balance(layers)
balanced = check(
    "depth",
    "Torch, BN-ReLU-BN with eps > 0: the sum over gamma and beta of a "
    "layer against the gauge terms of the next",
    own,
    carried,
    tolerance=1e-12,
)
finding(
    "Depth changes nothing: in each of three BN layers and in a convolution, torch's gradients and"
    " rates, unit by unit, are those of the theorem, to {worst:.0e}.",
    *gradients,
    *rates,
    gauge,
    balanced,
)

# %% [markdown]
# ## The length drifts, and with it the step
#
# Now real digits and plain gradient descent, all digits in one batch. With no weight decay every
# step adds $(\eta|\nabla_w J|)^2$ to $|w|^2$ and takes nothing away. So the length of the raw weights
# is a ledger of all gradients so far, and the step that counts, $\eta/|w|^2$, only shrinks. With
# decay, $w_+ = (1 - \eta a_w) w - \eta\nabla_w J$, and the same orthogonality gives
#
# $$|w_+|^2 = (1 - \eta a_w)^2|w|^2 + \eta^2|\nabla_w J|^2 .$$
#
# Two forces meet. Decay shortens the weights and so raises the effective step, until the direction
# overshoots; then a few large gradients stretch the weights again at a stroke.

# %%
digits = data.load(dataset)
inputs = training.standardize(digits)["train"]
some = torch.from_numpy(inputs[:200]).double()
classes = torch.from_numpy(digits.train.labels[:200])


def first_layer_lengths(weight_decay):
    network = models.network((784, 16, 10), eps=1e-30, seed=seeds[0], dtype=torch.float64)
    w, *others = network.parameters()
    kept = (1 - learning_rate * weight_decay) ** 2  # what decay leaves of |w|^2 in a step
    lengths, ledger = [], []

    def observe(step, network):
        lengths.append(w.detach().square().sum(dim=1))
        added = learning_rate**2 * w.grad.square().sum(dim=1) if step else 0
        ledger.append(kept * ledger[-1] + added if step else lengths[0])

    groups = [{"params": [w], "weight_decay": weight_decay}, {"params": others}]
    whole = repeat((some, classes), steps)
    training.fit(network, whole, cross_entropy, learning_rate, parameters=groups, observe=observe)
    return torch.stack(lengths).numpy(), torch.stack(ledger).numpy()


paths = {decay: first_layer_lengths(decay) for decay in weight_decays}

# %% tags=["hide-input"]
descent = Source(
    dataset,
    200,
    seeds[:1],
    {"network": "784-16-10", "steps": steps, "learning_rate": learning_rate},
)
picture = Picture(1, 2, width=7.4, height=3.4)
left, right = picture
marks = np.linspace(0, steps, 9).astype(int)
for (decay, (lengths, ledger)), color in zip(paths.items(), ("batch", "signal", "l2")):
    at = np.arange(steps + 1)
    left.line(at, lengths.mean(axis=1), f"decay {decay:g}", color)
    right.line(at, (learning_rate / lengths).mean(axis=1), f"decay {decay:g}", color)
for decay, (lengths, ledger) in paths.items():
    label = "from the gradients" if decay == list(paths)[-1] else None
    left.dots(marks, ledger.mean(axis=1)[marks], label, "theory", markersize=4, words=False)
left.note("dots, from the gradients alone, lie on the curves")
left.set(xlabel="steps", title="|w|², mean over units", yscale="log", legend=True)
right.set(xlabel="steps", title="effective step η/|w|²", yscale="log")
picture.show(
    says="Gradients make raw weights longer and steps smaller; weight decay turns that around."
    " Left: the squared length of the raw weights, and what the gradients alone say it must be."
    " Right: the step that the direction feels. Without decay it only falls. Decay does not shrink"
    " the function, which cannot see the length. It raises the step, with strong decay until the"
    " direction overshoots and the weights are stretched at a stroke: the saw teeth.",
    source=descent,
    name="depth-length",
)
ledgers = [
    check(
        "depth",
        f"Torch on digits, weight decay {decay:g}: squared "
        "lengths along gradient descent against decay and gradients "
        "added up",
        lengths,
        ledger,
        tolerance=1e-10,
        source=descent,
    )
    for decay, (lengths, ledger) in paths.items()
]
plain, decayed = paths[weight_decays[0]][0], paths[weight_decays[-1]][0]
grown = {
    "grown": plain[-1].mean() / plain[0].mean(),
    "slower": (1 / plain[-1]).mean() / (1 / plain[0]).mean(),
    "decay": weight_decays[-1],
    "peak": (1 / decayed).mean(axis=1).max() / (1 / decayed[0]).mean(),
}
finding(
    f"The length of raw weights is a ledger of all gradients: in {steps} steps without weight decay"
    " the squared length goes to {grown:.2g} times its start and the effective step to {slower:.2g}"
    " times; with weight decay {decay:g} that step reaches {peak:.2g} times its start.",
    *ledgers,
    **grown,
)

# %% [markdown]
# This is how weight decay acts in front of BN: on the step, not on the size of the function, as
# {cite:t}`vanlaarhoven2017`, {cite:t}`hoffer2018` and {cite:t}`zhang2018` have pointed out.
#
# ## Weight decay as a rate: true at the very end
#
# Part 4 says that weight decay on $w$ also sets a rate, once training has come to rest, and that
# $\varepsilon$ must be there for it. A small network with smooth activations and large $\varepsilon$
# gets that far: all its raw weights are decayed, every $\gamma$ is fixed at 1.

# %% tags=["hide-input"]
torch.manual_seed(1)
decay, eps = 0.05, 1.0
pixels = digits.train.images[:600].astype(np.float64)
components = np.linalg.svd(pixels - pixels.mean(axis=0))[2][:6].T
points = torch.from_numpy((pixels - pixels.mean(axis=0)) @ components)
thirds = torch.from_numpy(digits.train.labels[:600] % 3)
blocks = [
    [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b, eps=eps), nn.Tanh()]
    for a, b in pairwise((6, 5, 4, 3))
]
small = nn.Sequential(*chain.from_iterable(blocks))[:-1].double()
raw = [layer.weight for layer in small if isinstance(layer, nn.Linear)]


# %%
def decayed_loss():
    squares = sum(w.square().sum() for w in raw)
    return cross_entropy(small(points), thirds) + decay / 2 * squares


left = training.settle(raw, decayed_loss, iterations=1000)
print(f"largest gradient entry left: {left:.0e}")

# %% tags=["hide-input"]
layers = identities.walk(small, points, thirds)
found = np.concatenate([layer.rate_by_gamma for layer in layers])
closed_form = [
    theory.weight_decay_rate(decay, np.linalg.norm(layer.w, axis=1), layer.q, layer.gamma, eps)
    for layer in layers
]
print("rates by layer:", *(layer.rate_by_gamma.round(3) for layer in layers))
at_rest = check(
    "depth",
    "Torch on digits, three BN layers with weight decay on the raw weights, "
    "at rest: the rates of all units against the closed form",
    found,
    np.concatenate(closed_form),
    tolerance=1e-8,
    source=Source(
        dataset,
        600,
        conditions={"components": 6, "network": "6-5-4-3", "weight_decay": decay, "eps": eps},
    ),
)
finding(
    "Weight decay on raw weights becomes a rate only at rest and only through ε: a decay of"
    " {decay:g} sets rates from {low:.2g} to {high:.2g} in a small network with ε = {eps:g}, as the"
    " closed form says to {difference:.0e}.",
    at_rest,
    decay=decay,
    eps=eps,
    low=found.min(),
    high=found.max(),
)

# %% [markdown]
# The same with a single weight, in fractions: inputs of variance 1, $\gamma = 1$, and every root
# rational. The decay is chosen so that the unit is at rest.

# %% tags=["hide-input"]
w, c, eps_exact = Fraction(3, 4), Fraction(2), Fraction(1)
q, s = w**2, Fraction(5, 4)  # s squared is q + eps
v = w / s
slope = v - c  # of the squared loss, in v
rate = -v * slope
pull = (slope + rate * v) / s  # dJ/dw
decay_exact = -pull / w  # so that dJ/dw + decay w = 0
check(
    "depth",
    "one weight at rest under weight decay, in fractions: the rate against the closed form",
    rate,
    decay_exact * w**2 * (q + eps_exact) / eps_exact,
    kind="exact",
)

# %% [markdown]
# Why $\varepsilon$ is needed is best seen in least squares with a single input of variance 1, where
# $q = \lvert w\rvert^2$. Two pulls act on the length of $w$: decay shortens it by
# $a_w\lvert w\rvert^2$, and the loss, by the gauge identity, lengthens it by
# $\frac{\varepsilon}{q + \varepsilon}\,\gamma^2\lambda$. Where they are equal, $\lambda$ is the closed
# form. Without decay and with $\varepsilon > 0$ the rate is the $\max(0, R\sigma_t/\gamma - 1)$ of
# {prf:ref}`thm-stationarity`.
#
# <div class="moving" id="moving-decay" data-figure="decay">
# <p class="moving-still">On the web pages of this book this figure moves. With ε = 0 the loss does not pull on |w| at
# all: decay shortens w towards 0, and the rate stays Rσ<sub>t</sub>/γ − 1. With ε above 0 and no decay it is that
# or 0,
# whichever is larger, and for γ below Rσ<sub>t</sub> w lengthens for ever. With both, the two pulls meet at one
# length,
# and there is a positive rate for every γ.</p>
# </div>

# %% [markdown]
# ## The rates by layer, in training
#
# `bnlib.meter` reads every unit's rate off one backward pass. Here it watches three hidden BN layers
# through training on digits. Part 5 makes a prediction that needs no fit. At the start every $\beta$
# is 0, so in each layer that feeds another BN layer the rates, weighted by $\gamma_j^2$, add to zero:
# for every unit that BN holds in, another is held out. Only the last hidden layer, which feeds the
# read-out, is free.


# %%
def rates_by_layer(run, count):
    """Of each layer: mean rate weighted by gamma^2, mean size of a rate, share above 0."""
    size = run.schedule.batch_size
    x, labels = (torch.from_numpy(rows[: count * size]) for rows in (run.inputs, run.labels))
    fixed = zip(x.split(size), labels.split(size))
    units = meter.measure(run.model, fixed, cross_entropy).to_frame()
    layers = [layer for _, layer in units.groupby("layer", sort=False)]
    return {
        "weighted": [np.average(layer.rate, weights=layer.gamma**2) for layer in layers],
        "size": [layer.rate.abs().mean() for layer in layers],
        "positive": [(layer.rate > 0).mean() for layer in layers],
    }


# %% tags=["hide-input", "remove-stderr"]
schedule = training.Schedule(hidden=tuple(hidden), epochs=epochs)
last = schedule.steps(len(inputs))
looks = range(0, last + 1, max(1, last // 20))
runs = experiments.sweep(
    [training.Arm("batch")],
    [experiments.Conditions(dataset)],
    schedule,
    seeds,
    look=partial(rates_by_layer, count=10),
    look_steps=looks,
)
# (seeds, looks, layers)
mean_rates, sizes, positive = (
    np.array(runs[what].tolist()) for what in ("weighted", "size", "positive")
)

trained = Source(
    dataset,
    len(inputs),
    seeds,
    {"network": "-".join(map(str, [784, *hidden, 10])), "epochs": epochs},
)
picture = Picture(1, 2, width=7.4, height=3.4, sharex=True)
for layer, color in zip(range(len(hidden)), ("none", "batch", "l2")):
    for panel, values, scale in zip(picture, (mean_rates, sizes), ("plain", "log")):
        panel.band(looks, values[:, :, layer], f"hidden {layer + 1}", color, marker="", scale=scale)
start, end = (np.exp(np.log(sizes[:, look]).mean()) for look in (0, -1))
picture[0].set(xlabel="steps", title="rate, γ²-weighted mean of the layer")
picture[1].set(xlabel="steps", title="mean size of a rate, |λ|", legend=True)
picture[1].ax.set_ylim(bottom=0)
picture.show(
    says="Rates of a layer that feeds another BN layer balance around zero; single rates are not zero."
    " Left: in layers that feed another BN layer the rates start at a mean of zero, as they must;"
    " later shifts balance what is left. Right: single units are not at zero. Over all layers and seeds the geometric mean"
    f" size of a rate is {start:.1e} at the first look and {end:.1e} at the last.",
    source=trained,
    name="depth-rates",
)

# %% tags=["hide-input"]
share = mean_rates[:, 0, :-1] / sizes[:, 0, :-1]
cancelled = check(
    "depth",
    "Digits, all hidden layers but the last, at the first step: the "
    "mean rate of a layer in units of a rate's size",
    share,
    np.zeros_like(share),
    tolerance=1e-3,
    source=trained,
)
finding(
    "At the first step on digits the rates of every layer that feeds another BN layer cancel: their"
    " mean is at most {largest:.0e} of the size of a single rate. At the last look {hidden:.0%} of the"
    " units there are held in, and {free:.0%} of those in the last hidden layer.",
    cancelled,
    largest=float(np.abs(share).max()),
    hidden=positive[:, -1, :-1].mean(),
    free=positive[:, -1, -1].mean(),
)

# %% [markdown]
# ## What it means for your network
#
# - Read the rates of any layer, at any step: `bnlib.measure` needs no assumption on depth. Read them
#   unit by unit and with their sign, since between BN layers the mean of a layer says next to
#   nothing.
# - Weight decay on weights in front of BN is a setting of the step size. To keep the step from
#   fading, keep it; to regularize, decay $\gamma$ of a layer whose scale is seen, or nothing.
# - If two networks differ in the length of their initial weights alone, they differ in step size.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"In all {sum(len(layer.rate) for layer in walked)} units of three BN layers the gradient was that"
    f" of the theorem, to {max(one.difference for one in (*gradients, *rates)):.0e}. Without decay"
    f" {steps} steps brought |w|² to {grown['grown']:.2g} times its start and the effective step to"
    f" {grown['slower']:.2g} times; decay {grown['decay']:g} brought the step to {grown['peak']:.2g}"
    f" times. At rest, with ε = {eps:g}, decay {decay:g} on the raw weights set rates from"
    f" {found.min():.2g} to {found.max():.2g}. At the first step on digits the mean rate of a layer"
    f" that feeds another BN layer was {np.abs(share).max():.0e} of a single rate's size; the"
    f" geometric mean of sizes was {start:.1e} then and {end:.1e} after {looks[-1]} steps."
)

# %% [markdown]
# - Depth changes nothing in the theorem: each BN unit, in each layer, linear or convolutional,
#   carries its own rate, exactly.
# - The function does not see $|w|$. Under gradient descent $|w|^2$ therefore only grows, by the
#   squared gradients, and the effective step $\eta/|w|^2$ falls; weight decay on $w$ raises it again.
# - Weight decay on $w$ becomes a rate only through $\varepsilon$, and only at rest.
# - Behind BN and ReLU another BN makes the first one's scale invisible: its rates and shifts balance,
#   and at the usual start its rates average to zero.
#
# ## Where it stops
#
# - $\Sigma$ belongs to the current batch and to the current lower layers. In a deep network it moves
#   while one looks at it.
# - Part 3 is about plain gradient descent. Momentum and Adam mix gradients of different steps, and
#   $|w|$ need not grow at every one of them.
# - Part 4 is a statement about rest. With $\varepsilon = 10^{-5}$ stochastic training stops long
#   before; there the balance of the picture, decay against gradients, rules.
# - In a layer that only another BN layer sees, weight decay $a$ on $\gamma$ finds no rest (for
#   $\varepsilon = 0$): $\lambda_j = a$ for all $j$ would contradict part 5, and $\gamma$ and $\beta$
#   shrink on unseen. The rule $\lambda = a$ of {prf:ref}`thm-stationarity` is for layers whose scale
#   is seen, such as the last.
# - A negative rate is not regularization. How rates go on through a longer training, with noise and
#   in a convolutional network, is the subject of {doc}`layers`.
#
# ## Exercises
#
# **1. Derive.** Let $\varepsilon = 0$ and suppose that the gradient on the unit sphere has the same
# length $g = |\nabla_w J(u)|$ at every step. Show that without decay the effective step falls at
# least as fast as $1/(g\sqrt{2n})$ in the number of steps $n$, whatever $\eta$. Where does it settle
# with weight decay $a_w$?
#
# :::{dropdown} Solution
# Write $x = |w|^2$. By part 3 $|\nabla_w J(w)| = g/\sqrt{x}$, so $x_+ = x + \eta^2 g^2/x$. Squared,
# $x_+^2 = x^2 + 2\eta^2g^2 + \eta^4g^4/x^2 \ge x^2 + 2\eta^2g^2$. After $n$ steps
# $x_n \ge \eta g\sqrt{2n}$, and $\eta/x_n \le 1/(g\sqrt{2n})$: a schedule that nobody chose, in which
# $\eta$ does not occur. With decay, $x = (1 - \eta a_w)^2 x + \eta^2g^2/x$ where it settles, hence
# $x^2 = \eta^2g^2/(1 - (1 - \eta a_w)^2) = \eta g^2/(a_w(2 - \eta a_w))$, and the effective step is
# $\eta/x = \sqrt{\eta a_w(2 - \eta a_w)}/g \approx \sqrt{2\eta a_w}/g$. Gradients that shrink as the
# network learns let it rise further.
# :::
#
# **2. Run.** Set `learning_rate = 3.0`, ten times as much. Do the dots still lie on the curves? Is the
# effective step at the end, with decay 0, ten times as large?
#
# :::{dropdown} Solution
# The dots stay on the curves: part 3 holds for every $\eta$. The effective step starts ten times as
# large and ends hardly larger: the first steps stretch the squared length many times over, by Exercise
# 1 in proportion to $\eta$ as soon as the growth exceeds the start. At `learning_rate = 10.0` it even
# ends lower. Without decay, what the step size sets is how soon the weights have outgrown it.
# :::
