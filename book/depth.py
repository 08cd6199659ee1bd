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
# So far one layer was normalized. Does any of it survive in a deep network, where the
# inputs of a layer are themselves normalized, rectified and moving? All of it does, exactly, unit by
# unit, and without any assumption of width. Depth does bring two new things. The length of the raw weights has
# become invisible to the function, so it drifts, and with it the true step size. And batch
# normalization (BN) behind BN makes a layer's own scale invisible as well, which ties the rates of its units
# together: at the usual start they cannot all be positive. Both are identities that can be read off any network.

# %% tags=["parameters"]
dataset = "mnist-5k"  # data set
seeds = [0, 1, 2]  # of initial weights and batches
hidden = [64, 64, 64]  # units in each hidden layer
epochs = 6  # passes over the training digits
learning_rate = 0.3  # of plain gradient descent
weight_decays = [0.0, 0.01, 0.03]  # on raw weights, to see their length
steps = 300  # of plain gradient descent, for the same picture

# %%
from fractions import Fraction
from itertools import chain, pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bnlib import data, meter, models, theory, training
from companion import figures, page, statistics

# %% [markdown]
# ## One layer at a time
#
# Freeze everything but the weights $w$ of one unit. What comes into its layer no longer
# changes: call its covariance over the batch $\Sigma$. What happens above, later BN layers and all, is
# just a loss $L(v)$ of the weights that the unit has after BN is folded
# away. That is the setting of {prf:ref}`thm-rate`, which never asked where its inputs came from.
#
# :::{prf:theorem} Depth, and the gauge
# :label: thm-depth
# Take a BN unit anywhere in a network, with $q = w^\top\Sigma w$ from the batch at hand, in training mode. Let $J$
# be differentiable.
#
# 1. *(Depth changes nothing.)* With all other parameters held fixed, $\Sigma$ the covariance of the unit's input
#    and $L$ the loss as a function of its folded weights, {prf:ref}`thm-rate` and {prf:ref}`thm-stationarity` hold as
#    they stand. For a
#    convolution "input" means its patches, over all images and positions.
# 2. *(Gauge.)* $\displaystyle w^\top\nabla_w J = \frac{\varepsilon}{q + \varepsilon}\,\gamma\,\frac{\partial J}{\partial\gamma}$.
#    For $\varepsilon = 0$ it is zero: $J$ does not see $|w|$.
# 3. *(Length and step.)* Let $\varepsilon = 0$. A step of plain gradient descent, $w_+ = w - \eta\nabla_w J$, gives
#
#    $$|w_+|^2 = |w|^2 + \eta^2 |\nabla_w J|^2, \qquad \frac{w_+}{|w|} = u - \frac{\eta}{|w|^2}\,\nabla_w J(u), \quad u = \frac{w}{|w|} :$$
#
#    the length only grows, and the direction moves as if the step were $\eta/|w|^2$.
# 4. *(Weight decay on $w$.)* Let $\varepsilon > 0$. Where $\nabla_w J + a_w w = 0$,
#
#    $$\lambda = \frac{a_w\,|w|^2\,(q + \varepsilon)}{\varepsilon\,\gamma^2} .$$
#
# 5. *(BN, ReLU, BN.)* If a BN layer's output goes through a ReLU and only then into one linear layer
#    with BN, whose units are numbered by $k$,
#
#    $$\sum_j \gamma_j \frac{\partial J}{\partial\gamma_j} + \beta_j \frac{\partial J}{\partial\beta_j}
#    = \sum_k \frac{\varepsilon}{q_k + \varepsilon}\,\gamma_k\frac{\partial J}{\partial\gamma_k} .$$
#
#    For $\varepsilon = 0$ the right-hand side is zero, so
#    $\sum_j \gamma_j^2\lambda_j = \sum_j \beta_j\,\partial J/\partial\beta_j$.
# :::
#
# :::{dropdown} Proof
# **1.** The layer's inputs, and so $\mu$ and $\Sigma$ of the batch, do not depend on the layer's own weights. The
# unit's output on the batch is
# $\beta + v^\top(h - \mu)$ with $v = \gamma w/\sqrt{q + \varepsilon}$, so $J$ depends on $w$ through $v$ alone:
# $J = L(v)$. The proofs of
# {prf:ref}`thm-rate` and {prf:ref}`thm-stationarity` use nothing else. Batch statistics of later layers are functions
# of this layer's outputs, part of $L$.
# A convolution's channel is $w^\top h$ with $h$ a patch, padding included, and its BN averages over images and
# positions, that is over all patches.
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
# **3.** $|w_+|^2 = |w|^2 - 2\eta\, w^\top\nabla_w J + \eta^2|\nabla_w J|^2$, and the middle term is zero by part 2.
# $J(\tau w) = J(w)$ for $\tau > 0$;
# differentiated in $w$, $\tau\nabla_w J(\tau w) = \nabla_w J(w)$. With $\tau = 1/|w|$:
# $\nabla_w J(w) = \nabla_w J(u)/|w|$. Divide the step by $|w|$.
#
# **4.** Multiply by $w^\top$: $w^\top\nabla_w J = -a_w|w|^2$. By part 2 the left-hand side is
# $-\frac{\varepsilon}{q + \varepsilon}\gamma^2\lambda$.
#
# **5.** Multiply all $\gamma_j, \beta_j$ of the layer by $\tau > 0$. Its outputs, their ReLU (positively
# homogeneous) and the next layer's
# inputs are multiplied by $\tau$. In the next layer that is the same as multiplying all its weights $w_k$ by $\tau$
# instead; its bias, if any, is
# subtracted by BN in either case. So $J$ is the same function of $\tau$ both ways. Its derivative at $\tau = 1$ is
# the left-hand side in the first reading
# and $\sum_k w_k^\top\nabla_{w_k} J$ in the second; insert part 2. Finally
# $\gamma_j\,\partial J/\partial\gamma_j = -\gamma_j^2\lambda_j$. $\square$
# :::
#
# Where $J$ has kinks, as with ReLU, the identities hold at every point at which it is differentiable.
#
# **Check it in five lines**, or a few more: a network of torch's own layers with three BN
# layers, in float64 and with an $\varepsilon$ that is anything but small. Every unit
# of every layer is folded away in turn, and the gradient that torch reports is rebuilt from $L$.

# %%
torch.manual_seed(0)
deep = models.network((6, 9, 8, 7, 3), eps=0.1, seed=0).double()
for layer in deep:
    if isinstance(layer, nn.BatchNorm1d):
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias)
x, labels = torch.randn(40, 6, dtype=torch.float64), torch.randint(3, (40,))


def forward_from(
    start, h
):  # the loss, from the input of layer number `start`
    return functional.cross_entropy(deep[start:](h), labels)


def rebuilt_gradient(number):
    """grad_w J of the Linear at `number`, from the network that is folded there."""
    linear, bn = deep[number], deep[number + 1]
    with torch.no_grad():
        h = deep[:number](x)
    cov = torch.cov(h.T, correction=0)
    q = (
        ((linear.weight @ cov) * linear.weight)
        .sum(dim=1, keepdim=True)
        .detach()
    )
    gamma = bn.weight[:, None].detach()
    v = (
        gamma * linear.weight.detach() / (q + bn.eps).sqrt()
    ).requires_grad_()
    folded = forward_from(
        number + 2, (h - h.mean(dim=0)) @ v.T + bn.bias.detach()
    )  # bias tied
    (grad_v,) = torch.autograd.grad(folded, v)
    rate = -(v * grad_v).sum(dim=1, keepdim=True) / gamma**2
    return gamma / (q + bn.eps).sqrt() * (grad_v + rate * v @ cov), rate[:, 0]


forward_from(0, x).backward()
for number, depth in ((0, "first"), (3, "second"), (6, "third")):
    gradient, rate = rebuilt_gradient(number)
    page.check(
        "depth",
        f"Torch, {depth} of three BN layers, all units: autograd's "
        "gradient against loss plus penalty of the folded unit",
        deep[number].weight.grad.numpy(),
        gradient.detach().numpy(),
        tolerance=1e-12,
    )
    found = -(deep[number + 1].weight.grad / deep[number + 1].weight).detach()
    page.check(
        "depth",
        f"Torch, {depth} of three BN layers: minus the gradient of gamma "
        "over gamma against the folded unit's rate",
        found.numpy(),
        rate.detach().numpy(),
        tolerance=1e-12,
    )

# %% [markdown]
# A convolution is no different. Its units are channels, its inputs are patches.

# %%
conv_bn = nn.Sequential(
    nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, eps=0.1)
).double()
nn.init.uniform_(conv_bn[1].weight, 0.5, 1.5)
above = nn.Sequential(
    nn.ReLU(),
    nn.Conv2d(4, 3, 3),
    nn.BatchNorm2d(3),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(3 * 16, 3),
).double()
pictures = torch.randn(20, 2, 6, 6, dtype=torch.float64)
targets = torch.randint(3, (20,))
functional.cross_entropy(above(conv_bn(pictures)), targets).backward()

w, gamma = conv_bn[0].weight.detach().flatten(1), conv_bn[1].weight.detach()
patches = functional.unfold(pictures, 3, padding=1)  # (images, 18, positions)
rows = patches.transpose(1, 2).reshape(-1, 18)
cov = torch.cov(rows.T, correction=0)
v = torch.from_numpy(
    theory.effective_weights(w, gamma, cov, eps=0.1)
).requires_grad_()
centred = patches - rows.mean(dim=0)[:, None]
output = (v @ centred).reshape(20, 4, 6, 6)
(grad_v,) = torch.autograd.grad(
    functional.cross_entropy(above(output), targets), v
)
rate = torch.from_numpy(theory.rate(v.detach(), grad_v, gamma))
s = (((w @ cov) * w).sum(dim=1) + 0.1).sqrt()
rebuilt = (gamma / s)[:, None] * (grad_v + rate[:, None] * (v @ cov))
page.check(
    "depth",
    "Torch, Conv2d and BatchNorm2d, covariance of the patches: "
    "autograd's gradient against loss plus penalty of the folded "
    "channels",
    conv_bn[0].weight.grad.flatten(1).numpy(),
    rebuilt.detach().numpy(),
    tolerance=1e-12,
)

# %% [markdown]
# The gauge, in the same deep network: one number a unit on each side. And the balance of
# BN, ReLU, BN, with the exact right-hand side for $\varepsilon > 0$.

# %%
radial, predicted, balance, carried = [], [], [], []
for number in (0, 3, 6):
    linear, bn = deep[number], deep[number + 1]
    q = linear(deep[:number](x)).var(dim=0, unbiased=False)
    by_gauge = bn.eps / (q + bn.eps) * bn.weight * bn.weight.grad
    radial.append((linear.weight * linear.weight.grad).sum(dim=1))
    predicted.append(by_gauge)
    balance.append(
        (bn.weight * bn.weight.grad + bn.bias * bn.bias.grad).sum()
    )
    carried.append(by_gauge.sum())
numbers = lambda tensors: torch.stack(tensors).detach().numpy()
page.check(
    "depth",
    "Torch, three BN layers with eps > 0: w'grad_w J of every unit "
    "against the gauge identity",
    torch.cat(radial).detach().numpy(),
    torch.cat(predicted).detach().numpy(),
    tolerance=1e-12,
)
page.check(
    "depth",
    "Torch, BN-ReLU-BN with eps > 0: the sum over gamma and beta of a "
    "layer against the gauge terms of the next",
    numbers(balance[:2]),
    numbers(carried[1:]),
    tolerance=1e-12,
)

# %% [markdown]
# ## The length drifts, and with it the step
#
# Now real digits and plain gradient descent, all digits in one batch. With no
# weight decay every step adds $(\eta|\nabla_w J|)^2$ to $|w|^2$ and takes nothing away. So the
# length of the raw weights is a ledger of all gradients so far, and the step that counts, $\eta/|w|^2$, only
# shrinks. With weight
# decay $a_w$ two forces meet. Decay shortens the weights and so raises the effective step, until the direction
# overshoots; then a few large gradients stretch the weights again at a stroke.

# %%
digits = data.load(dataset)
inputs = training.standardize(digits)
some = torch.from_numpy(inputs["train"][:200]).double()
classes = torch.from_numpy(digits.train.labels[:200])


def first_layer_lengths(weight_decay):
    network = models.network((784, 16, 10), eps=1e-30, seed=seeds[0]).double()
    w = network[0].weight
    optimizer = torch.optim.SGD(
        [
            {"params": [w], "weight_decay": weight_decay},
            {"params": list(network.parameters())[1:]},
        ],
        lr=learning_rate,
    )
    lengths, ledger = (
        [w.detach().square().sum(dim=1)],
        [w.detach().square().sum(dim=1)],
    )
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(some), classes).backward()
        optimizer.step()
        lengths.append(w.detach().square().sum(dim=1))
        kept = (
            1 - learning_rate * weight_decay
        ) ** 2  # what decay leaves of |w|^2 in a step
        ledger.append(
            kept * ledger[-1] + learning_rate**2 * w.grad.square().sum(dim=1)
        )
    return torch.stack(lengths).numpy(), torch.stack(ledger).numpy()


paths = {
    weight_decay: first_layer_lengths(weight_decay)
    for weight_decay in weight_decays
}

# %% tags=["hide-input"]
fig, axes = figures.figure(1, 2, width=7.4, height=3.4)
for (weight_decay, (lengths, ledger)), key in zip(paths.items(), ("batch", "signal", "l2")):
    axes[0].plot(lengths.mean(axis=1), color=figures.COLORS[key], label=f"decay {weight_decay:g}")
    axes[1].plot((learning_rate / lengths).mean(axis=1), color=figures.COLORS[key])
marks = np.linspace(0, steps, 9).astype(int)
for lengths, ledger in paths.values():
    axes[0].plot(marks, ledger.mean(axis=1)[marks], "o", markersize=4, color=figures.COLORS["theory"])
axes[0].plot([], [], "o", color=figures.COLORS["theory"], label="from the gradients alone")
axes[0].set_ylabel("|w|², mean over units")
axes[1].set_ylabel("effective step η / |w|²")
for ax in axes:
    ax.set_xlabel("steps")
axes[0].set_yscale("log")
axes[1].set_yscale("log")
axes[0].legend()
ends = {weight_decay: float(lengths[-1].mean() / lengths[0].mean()) for weight_decay, (lengths, _) in paths.items()}
figures.show(
    fig,
    alt="Squared length of the raw weights and the effective step through training; the length ends at "
    + ", ".join(f"{end:.2g} times its start with decay {decay:g}" for decay, end in ends.items())
    + ".",
    caption="Left: the squared length of the raw weights, and what the gradients alone say it must be. Right: the step that the direction feels. "
    "Without decay it only falls. Decay does not shrink the function, which cannot see the length. It raises the step, with strong decay "
    "until the direction overshoots and the weights are stretched at a stroke: the saw teeth.",
    source=f"{digits.title}, 200 training digits in one batch, 16 units, step {learning_rate:g}, seed {seeds[0]}",
)

# %%
for weight_decay, (lengths, ledger) in paths.items():
    page.check(
        "depth",
        f"Torch on digits, weight decay {weight_decay:g}: squared "
        "lengths along gradient descent against decay and gradients "
        "added up",
        lengths,
        ledger,
        tolerance=1e-10,
    )

# %% [markdown]
# With decay, $w_+ = (1 - \eta a_w) w - \eta\nabla_w J$, and the same orthogonality gives
# $|w_+|^2 = (1 - \eta a_w)^2|w|^2 + \eta^2|\nabla_w J|^2$:
# those are the dots. This is how weight decay acts in front of BN: on the step, not on the size of the
# function, as {cite:t}`vanlaarhoven2017`, {cite:t}`hoffer2018` and {cite:t}`zhang2018` have pointed out.
#
# ## Weight decay as a rate: true at the very end
#
# Part 4 says that weight decay on $w$ also sets a rate, once training has come to rest, and that $\varepsilon$ must
# be there for it. A small network
# with smooth activations and large $\varepsilon$ gets that far: all its raw weights are decayed, every $\gamma$ is
# fixed at 1.

# %%
torch.manual_seed(1)
decay, eps = 0.05, 1.0
pictures = digits.train.images[:600].astype(np.float64)
components = np.linalg.svd(pictures - pictures.mean(axis=0))[2][:6].T
points = torch.from_numpy((pictures - pictures.mean(axis=0)) @ components)
kinds = torch.from_numpy(digits.train.labels[:600] % 3)
layers = [
    [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b, eps=eps), nn.Tanh()]
    for a, b in pairwise((6, 5, 4, 3))
]
small = nn.Sequential(*chain.from_iterable(layers))[:-1].double()
raw = [layer.weight for layer in small if isinstance(layer, nn.Linear)]
bns = [layer for layer in small if isinstance(layer, nn.BatchNorm1d)]


def decayed_loss():
    return functional.cross_entropy(small(points), kinds) + decay / 2 * sum(
        w.square().sum() for w in raw
    )


left = training.settle(raw, decayed_loss, iterations=1000)
print(f"largest gradient entry left: {left:.0e}")
small.zero_grad()  # settling added up the gradients of gamma
decayed_loss().backward()
found, predicted, h = [], [], points
with torch.no_grad():
    for linear, bn, *activation in (layers[0], layers[1], layers[2][:2]):
        z = linear(h)
        found.append(-bn.weight.grad / bn.weight)
        predicted.append(
            theory.weight_decay_rate(
                decay,
                linear.weight.norm(dim=1),
                z.var(dim=0, unbiased=False),
                bn.weight,
                eps,
            )
        )
        h = nn.Sequential(bn, *activation)(z)
print("rates by layer:", *(layer.numpy().round(3) for layer in found))
page.check(
    "depth",
    "Torch on digits, three BN layers with weight decay on the raw weights, "
    "at rest: the rates of all units against the closed form",
    torch.cat(found).numpy(),
    np.concatenate(predicted),
    tolerance=1e-8,
)

# %% [markdown]
# The same with a single weight, in fractions: inputs of variance 1, $\gamma = 1$, and every root rational.
# The decay is chosen so that the unit is at rest.

# %%
w, c, eps_exact = Fraction(3, 4), Fraction(2), Fraction(1)
q, s = w**2, Fraction(5, 4)  # s squared is q + eps
v = w / s
slope = v - c  # of the squared loss, in v
rate = -v * slope
pull = (slope + rate * v) / s  # dJ/dw
decay_exact = -pull / w  # so that dJ/dw + decay w = 0
page.check(
    "depth",
    "one weight at rest under weight decay, in fractions: the rate against "
    "the closed form",
    rate,
    decay_exact * w**2 * (q + eps_exact) / eps_exact,
    kind="exact",
)

# %% [markdown]
# Why $\varepsilon$ is needed is best seen in least squares with a single input of variance 1, where
# $q = \lvert w\rvert^2$.
# Two pulls act on the length of $w$: decay shortens it by $a_w\lvert w\rvert^2$, and the loss, by the gauge
# identity of
# {prf:ref}`thm-depth`, lengthens it by $\frac{\varepsilon}{q + \varepsilon}\,\gamma^2\lambda$. Where they are
# equal, $\lambda$ is the
# closed form. Without decay and with $\varepsilon > 0$ the rate is the $\max(0, R\sigma_t/\gamma - 1)$ of
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
# `bnlib.meter` reads every unit's rate off one backward pass. Here it watches
# three hidden BN layers through training on digits. Part 5 makes a prediction that needs no fit. At the
# start every $\beta$ is 0, so in each layer that feeds another BN layer the rates, weighted by $\gamma_j^2$, add to
# zero: for every
# unit that BN holds in, another is held out. Only the last hidden layer, which feeds the read-out, is free.

# %%
per_epoch = 4  # looks at the rates
x_train, y_train = (
    torch.from_numpy(inputs["train"]),
    torch.from_numpy(digits.train.labels),
)
looked_at = list(
    zip(x_train[:1280].split(128), y_train[:1280].split(128))
)  # training's batch size


def rates_through_training(seed):
    torch.manual_seed(seed)
    network = models.network((784, *hidden, 10), seed=seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    looks = []
    batches = [
        rows
        for _ in range(epochs)
        for rows in torch.randperm(len(x_train)).split(128)
        if len(rows) == 128
    ]
    for step, rows in enumerate(batches):
        if step % max(1, len(batches) // (epochs * per_epoch)) == 0:
            report = meter.measure(
                network, looked_at, functional.cross_entropy
            )
            looks.append((step, report.to_frame()))
        optimizer.zero_grad()
        functional.cross_entropy(
            network(x_train[rows]), y_train[rows]
        ).backward()
        optimizer.step()
    return looks


histories = [rates_through_training(seed) for seed in seeds]


def by_layer(frame, what):
    return [what(part) for _, part in frame.groupby("layer", sort=False)]


weighted = lambda part: (
    (part.gamma**2 * part.rate).sum() / (part.gamma**2).sum()
)
share_positive = lambda part: (part.rate > 0).mean()
at = [step for step, _ in histories[0]]
mean_rates = np.array(
    [
        [by_layer(frame, weighted) for _, frame in history]
        for history in histories
    ]
)  # (seeds, looks, layers)
sizes = np.array(
    [
        [
            by_layer(frame, lambda part: part.rate.abs().mean())
            for _, frame in history
        ]
        for history in histories
    ]
)

# %% tags=["hide-input"]
fig, axes = figures.figure(1, 2, width=7.4, height=3.4, sharex=True)
for layer, key in zip(range(len(hidden)), ("none", "batch", "l2")):
    figures.band(axes[0], at, mean_rates[:, :, layer], f"hidden {layer + 1}", figures.COLORS[key], marker="")
    figures.band(axes[1], at, sizes[:, :, layer], f"hidden {layer + 1}", figures.COLORS[key], marker="")
axes[0].set_ylabel("rate, γ²-weighted mean of the layer")
axes[1].set_ylabel("mean size of a rate, |λ|")
axes[1].set_ylim(bottom=0)
for ax in axes:
    ax.set_xlabel("steps")
axes[1].legend()
figures.show(
    fig,
    alt=f"Left: mean rate by layer through training; at the start {mean_rates[:, 0, 0].mean():.1e}, {mean_rates[:, 0, 1].mean():.1e} and {mean_rates[:, 0, 2].mean():.1e}. "
    f"Right: mean size of the rates, at the start {sizes[:, 0, 0].mean():.1e} in the first layer.",
    caption="Left: in layers that feed another BN layer the rates start at a mean of zero, as they must; later shifts balance what is left. Right: single units are far from zero, "
    "and all rates fade as a learned γ comes to rest. Bands: 95 % interval over seeds.",
    source=f"{digits.title}, {len(x_train):,} training digits, batches of 128, seeds {seeds[0]} to {seeds[-1]}",
)

# %%
start = np.abs(mean_rates[:, 0, :-1]).max() / sizes[:, 0, :-1].min()
print(f"at the start, mean over typical size of a rate: {start:.0e}")
page.check(
    "depth",
    "Digits, all hidden layers but the last, at the first step: the "
    "mean rate of a layer in units of a rate's size",
    mean_rates[:, 0, :-1] / sizes[:, 0, :-1],
    np.zeros_like(mean_rates[:, 0, :-1]),
    tolerance=1e-3,
)
shares = np.array(
    [by_layer(history[-1][1], share_positive) for history in histories]
)
print(
    "share of units with a positive rate at the end, by layer:",
    shares.mean(axis=0).round(2),
)

# %% [markdown]
# ## What we learned
#
# - Depth changes nothing in the theorem: each BN unit, in each layer, linear or
#   convolutional, carries its own rate, exactly.
# - The function does not see $|w|$. Under gradient descent $|w|^2$ therefore only grows, by the squared gradients,
# and
#   the effective step $\eta/|w|^2$ falls; weight decay on $w$ raises it again.
# - Weight decay on $w$ becomes a rate only through $\varepsilon$, and only at rest.
# - Behind BN and ReLU another BN makes the first one's scale invisible: its rates and shifts
#   balance, and at the usual start its rates average to zero.
#
# ## Where it stops
#
# - $\Sigma$ belongs to the current batch and to the current lower layers. In a deep
#   network it moves while one looks at it.
# - Part 3 is about plain gradient descent. Momentum and Adam mix gradients of different steps, and
#   $|w|$ need not grow at every one of them.
# - Part 4 is a statement about rest. With $\varepsilon = 10^{-5}$ stochastic training stops long before; there the
#   balance of the picture, decay against gradients, rules.
# - In a layer that only another BN layer sees, weight decay $a$ on $\gamma$ finds no rest (for $\varepsilon = 0$):
# $\lambda_j = a$
#   for all $j$ would contradict part 5, and $\gamma$ and $\beta$ shrink on unseen. The rule $\lambda = a$ of
#   {prf:ref}`thm-stationarity` is for layers whose scale is seen, such as the last.
# - A negative rate is not regularization. In hidden layers about as many units are held out as are
#   held in, so a layer's mean rate says little: read the units.
