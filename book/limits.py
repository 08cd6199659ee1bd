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
# # Where it stops
#
# The theorems of this book are exact, and so it is easy to take from them more than they say. This chapter is about
# what they do not say. It goes through six limits, one at a time, and puts a number or a picture to each: how far a
# real network is from a stationary point, how many rates are negative, what regularizes when the rate is zero, what
# an L2-equivalent rate leaves out, how far "auto-tuned" is from "optimal", and what nobody has proved. Each ends with
# a sentence of advice for a network of your own.

# %% tags=["parameters"]
dataset = "mnist-5k"  # data set
seeds = [0, 1, 2]  # of initial weights and batches
hidden = [64, 64]  # units in each hidden layer
epochs = 6  # passes over the training digits
components = 64  # principal components of the digits, for the read-outs
digit = 3  # the read-outs say: is it this digit?
few = 150  # training digits of the read-out that is short of data
read_out_steps = 700  # of gradient descent
subsets = 12  # random subsets of the digits, for the closed forms

# %%
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bnlib import data, meter, models, theory, training
from companion import figures, page, statistics
from bnlib.theory import Moments

digits = data.load(dataset)
standard = training.standardize(digits)
some = slice(0, 3000)  # training digits that are looked at
x, y = torch.from_numpy(standard["train"]), torch.from_numpy(digits.train.labels)

# %% [markdown]
# The first limits are measured on one kind of network: digits in, two hidden layers with batch normalization (BN),
# cross-entropy, SGD with momentum on mini-batches of 128 and a step that falls to zero. It is trained with $\gamma$
# learned, as usual, and with $\gamma = 1$ held fixed. Along the way we stop, put the training digits through as one
# batch, and look at every unit.


# %%
def look(network):
    """For every BN layer: rate, what is left, and angle, of each unit."""
    h, pairs = x[some], []
    for layer in network.train():
        if isinstance(layer, nn.Linear):
            linear, fed = layer, h
        z, h = h, layer(h)
        if isinstance(layer, nn.BatchNorm1d):
            pairs.append((linear.weight, layer, fed, z, h))
    loss = cross_entropy(h, y[some])
    grads = torch.autograd.grad(loss, [pair[-1] for pair in pairs])
    found = []
    with torch.no_grad():
        for (w, bn, fed, z, _), grad in zip(pairs, grads):
            centred = fed - fed.mean(dim=0)
            s = (z.var(dim=0, unbiased=False) + bn.eps).sqrt()
            v = bn.weight[:, None] * w / s[:, None]
            grad_v = grad.T @ centred  # the bias moves with v
            rate = -(v * grad_v).sum(dim=1) / bn.weight.square()
            normal = (centred @ v.T).T @ centred / len(centred)  # Sigma v
            rest = (grad_v + rate[:, None] * normal).norm(dim=1)
            cosine = torch.cosine_similarity(normal, v, dim=1)
            found.append({
                "rate": rate.numpy(),
                "left": (rest / grad_v.norm(dim=1)).numpy(),
                "angle": torch.rad2deg(cosine.arccos()).numpy(),
                "rho": (v * normal).sum(dim=1).div(v.square().sum(dim=1)),
            })
    return found


batches_an_epoch = len(x) // 128
total_steps = epochs * batches_an_epoch
looks = np.unique(np.geomspace(1, total_steps + 1, 8).round().astype(int)) - 1


def train(seed, gamma=None):
    network = models.network((784, *hidden, 10), gamma=gamma, seed=seed)
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=0.1, momentum=0.9)
    rng, history = np.random.default_rng(seed), []
    for step in range(total_steps + 1):
        if step in looks:
            history.append(look(network))
        if step == total_steps:
            return network, history
        if step % batches_an_epoch == 0:
            order = rng.permutation(len(x))
        rows = order[:128]
        order = order[128:]
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / total_steps)
        optimizer.zero_grad()
        cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()


learned = [train(seed) for seed in seeds]
fixed = [train(seed, gamma=1.0) for seed in seeds]
where = f"{digits.title}, 784-{'-'.join(map(str, hidden))}-10, {epochs} epochs, seeds {seeds[0]} to {seeds[-1]}"


def collect(runs, layer, what):
    """Shape (seeds, looks, units)."""
    return np.array([[each[layer][what] for each in history] for _, history in runs])


# %% [markdown]
# ## Training does not come to rest
#
# {prf:ref}`thm-stationarity` speaks of stationary points. There $\nabla_v L + \lambda\Sigma v = 0$: the whole plain
# gradient is balanced by BN's penalty. At any other point something is left. We measure it as a share,
# $\lvert\nabla_v L + \lambda\Sigma v\rvert / \lvert\nabla_v L\rvert$, between 0, at rest, and about 1, where the
# penalty balances nothing.
#
# For contrast, a problem that does head for rest: one unit, fixed $\gamma$, principal components for inputs, one batch,
# as in {doc}`chapter 5 <digits>`.

# %%
pixels = standard["train"].astype(np.float64)
all_pixels = Moments.from_data(pixels, digits.train.labels)
spectrum, directions = all_pixels.spectrum
leading = directions[:, ::-1][:, :components]
features = {
    part: (standard[part].astype(np.float64) - all_pixels.mean) @ leading
    for part in standard
}
is_digit = {
    part: (getattr(digits, part).labels == digit).astype(np.float64)
    for part in standard
}
target_mean, target_std = is_digit["train"].mean(), is_digit["train"].std()
targets = {k: (t - target_mean) / target_std for k, t in is_digit.items()}


shown = np.unique(np.geomspace(1, read_out_steps, 60).round().astype(int)) - 1


def read_out(X, t, gamma=None, batch=None, noise=0.0, learning_rate=0.1,
             normalization="batch", start=1.0, seed=0):
    """One unit by gradient descent; yields the network at `shown` steps."""
    network = models.network(
        (components, 1), normalization, normalize_output=True, gamma=gamma,
        eps=1e-30, seed=0,
    ).double()
    if normalization == "none":  # at start = 1 the function that BN starts with
        w = network[0].weight.data
        w *= start / (torch.from_numpy(X) @ w.T).std(correction=0)
        network[0].bias.data = -w @ torch.from_numpy(X.mean(axis=0))
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=learning_rate, momentum=0.9)
    rng = np.random.default_rng(seed)
    for step in range(read_out_steps):
        if step in shown:
            yield network
        falling = learning_rate * (1 - step / read_out_steps)
        rows = rng.permutation(len(X))[:batch] if batch else slice(None)
        seen = data.corrupt(X[rows], rng, noise) if noise else X[rows]
        optimizer.param_groups[0]["lr"] = falling
        optimizer.zero_grad()
        output = network(torch.from_numpy(seen))[:, 0]
        ((output - torch.from_numpy(t[rows])).square().mean() / 2).backward()
        optimizer.step()


full = Moments.from_data(features["train"], targets["train"])
resting = []
for network in read_out(features["train"], targets["train"], gamma=0.5,
                        learning_rate=0.3):
    w = network[0].weight.detach().numpy()[0]
    v = theory.effective_weights(w, 0.5, full.cov)
    plain = full.cov @ v - full.cross
    balanced = plain + theory.rate(v, plain, 0.5) * full.cov @ v
    resting.append(np.linalg.norm(balanced) / np.linalg.norm(plain))

# %% tags=["hide-input"]
fig, ax = figures.figure(height=3.4)
for runs, layer, key, name in (
    (fixed, 0, "batch", "hidden 1, γ fixed"), (learned, 0, "signal", "hidden 1, γ learned"),
    (fixed, 1, "l2", "hidden 2, γ fixed"), (learned, 1, "noise", "hidden 2, γ learned"),
):
    figures.band(ax, looks + 1, np.median(collect(runs, layer, "left"), axis=2), name, figures.COLORS[key])
ax.plot(shown + 1, resting, "--", color=figures.COLORS["none"], label="one unit, full batch")
ax.set(xscale="log", yscale="log", xlabel="gradient step, counted from 1", ylabel="share of the gradient left")
ax.legend(fontsize=9, loc="lower left")
left_at_end = np.median(collect(fixed, 0, "left")[:, -1], axis=1)
figures.show(
    fig,
    alt=f"Share of the gradient that is not balanced, median over units. In the network it stays between "
    f"{min(np.median(collect(r, k, 'left'), axis=2).min() for r in (fixed, learned) for k in (0, 1)):.2f} and 1 all "
    "through training; for one unit on a full "
    f"batch it falls to {resting[-1]:.0e}.",
    caption="In a network on mini-batches most of the gradient is still unbalanced when training ends. One unit on a "
    "full batch does head for rest.",
    source=where,
)

# %%
page.check(
    "stationarity",
    "MNIST network after training, gamma fixed, first hidden layer: share of "
    "the gradient that the penalty does not balance is above 0.1",
    measured=left_at_end,
    predicted=0.1,
    kind="empirical",
    relation="above",
)
for name, runs in (("fixed", fixed), ("learned", learned)):
    final = collect(runs, 0, "rate")[:, -1]
    first = collect(runs, 0, "rate")[:, 0]
    print(f"γ {name}: median |λ| {np.median(np.abs(first)):.1e} at the start,"
          f" {np.median(np.abs(final)):.1e} at the end")

# %% [markdown]
# A learned $\gamma$ would have $\lambda = 0$ at rest. It does get small, but so does the whole gradient: the network
# fits its training digits. $v$ is nowhere near the solution of a penalized problem. What holds all the way is
# {prf:ref}`thm-rate`.
#
# **For your network:** quote the rate as what BN adds *to this step*. Call it a multiplier only if you have checked
# that the gradient is balanced.
#
# ## Negative rates do not regularize
#
# Where $\lambda < 0$ BN pushes the unit out instead of holding it in. How often is that?

# %%
negative = {
    name: np.stack([(collect(runs, layer, "rate") < 0).mean(axis=2)
                    for layer in range(len(hidden))], axis=-1)
    for name, runs in (("learned", learned), ("fixed", fixed))
}  # (seeds, looks, layers)
counts = pd.DataFrame(
    {f"γ {name}, {when}": shares[:, at].mean(axis=0)
     for name, shares in negative.items()
     for when, at in (("start", 0), ("end", -1))},
    index=[f"hidden {k + 1}" for k in range(len(hidden))],
)
print(counts.map("{:.0%}".format).to_string())

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, width=7.4, height=3.4)
for layer, key in zip(range(len(hidden)), ("batch", "l2")):
    figures.band(left, looks + 1, negative["learned"][:, :, layer], f"hidden {layer + 1}", figures.COLORS[key])
    for at, style in ((0, ":"), (-1, "-")):
        rates = np.sort(collect(learned, layer, "rate")[0, at])
        right.plot(np.linspace(0, 1, len(rates)), rates / np.abs(rates).mean(), style, color=figures.COLORS[key])
left.axhline(0.5, color=figures.INK, linewidth=0.8, linestyle=":")
left.set(xscale="log", ylim=(0, 1), xlabel="gradient step, counted from 1", title="share of units with λ < 0")
left.legend()
right.plot([], [], ":", color=figures.INK, label="start")
right.plot([], [], "-", color=figures.INK, label="end")
right.axhline(0, color=figures.INK, linewidth=0.8)
right.set(xlabel="units, sorted", title="λ, in units of the mean |λ|")
right.legend()
ends = negative["learned"][:, -1].mean(axis=0)
figures.show(
    fig,
    alt="Left: share of units with a negative rate through training with learned gamma, by layer; at the end "
    + ", ".join(f"{share:.0%} in hidden {k + 1}" for k, share in enumerate(ends))
    + ". Right: the rates of one network, sorted, at the start and at the end.",
    caption="The first hidden layer feeds another BN layer, so its rates balance around zero: many stay negative. "
    "The last one is free to be held in.",
    source=where,
)

# %% [markdown]
# The first layer has no choice: behind it stands another BN layer, and {prf:ref}`thm-depth` makes its rates, weighted
# by $\gamma^2$, add up to what its shifts $\beta$ leave. A layer's mean rate near zero can hide strong rates of both
# signs.
#
# **For your network:** look at the sign unit by unit, `meter.measure(…).to_frame()`, before you speak of
# regularization at all.
#
# ## When the rate is zero, what regularizes?
#
# With a learned $\gamma$ and no decay the rate ends at zero ({prf:ref}`thm-stationarity`). Then BN adds no penalty to
# the loss that it was trained on. Three things remain, and none of them is the rate: small batches shift $\gamma$
# ({prf:ref}`thm-minibatch`); noise on the inputs is charged at rate 1 ({prf:ref}`thm-noise`); and the *path* is
# another one, because BN's steps live on an ellipsoid. A read-out that is short of data shows all three. Its $\gamma$
# is learned in every arm. (Without BN the step has to be ten times smaller, or the read-out diverges: BN tunes the
# {doc}`step <related>`, too.)

# %%
rows_few = np.random.default_rng(0).permutation(len(pixels))[:few]
X_few, t_few = features["train"][rows_few], targets["train"][rows_few]
short = Moments.from_data(X_few, t_few)


def test_error(v):
    """Of the folded unit, its bias tied, on the test digits."""
    outputs = t_few.mean() + (features["test"] - short.mean) @ v
    return np.mean((targets["test"] - outputs) ** 2)


def folded(network):
    """Effective weights and their rate on the few clean digits."""
    linear = network[0].weight.detach().numpy()[0].copy()
    if len(network) == 1:
        return linear, np.nan
    gamma = network[1].weight.item()
    v = theory.effective_weights(linear, gamma, short.cov)
    return v, float(theory.rate(v, short.cov @ v - short.cross, gamma))


without = {"normalization": "none", "learning_rate": 0.01}
read_arms = {
    "no BN": without,
    "no BN, from 0": {**without, "start": 0.0},
    "BN, one batch": {},
    "BN, batches of 32": {"batch": 32, "learning_rate": 0.01},
    "BN, input noise 1": {"noise": 1.0},
}
paths = {}
for name, options in read_arms.items():
    path = [folded(net) for net in read_out(X_few, t_few, **options)]
    paths[name] = [test_error(v) for v, _ in path], [r for _, r in path]
least = np.linalg.solve(short.cov, short.cross)
wiener = np.linalg.solve(short.cov + np.eye(components), short.cross)
print("test error:          best on the way, at the end;   λ at the end")
for name, (path_errors, path_rates) in paths.items():
    print(f"{name:18s} {min(path_errors):17.3f} {path_errors[-1]:12.3f}",
          "" if "no BN" in name else f"{path_rates[-1]:+18.3f}")

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, width=7.4, height=3.5)
at = 1 + shown
ends = {name: path_errors[-1] for name, (path_errors, _) in paths.items()}
last_rates = {name: path_rates[-1] for name, (_, path_rates) in paths.items()}
for (name, (path_errors, path_rates)), key in zip(paths.items(), ("none", "none", "batch", "l2", "noise")):
    style = ":" if "from 0" in name else "-"
    left.semilogx(at, path_errors, style, color=figures.COLORS[key], label=name, linewidth=1.6)
    right.semilogx(at, path_rates, color=figures.COLORS[key], linewidth=1.6)
for weights in (least, wiener):
    left.axhline(test_error(weights), color=figures.COLORS["theory"], linestyle="--", linewidth=1.2)
right.axhline(0, color=figures.INK, linewidth=0.8)
left.set(xlabel="gradient step, counted from 1", title="test error, share of the variance", ylim=(0.5, 1.6))
right.set(xlabel="gradient step, counted from 1", title="rate λ on the clean digits", ylim=(-1.05, 1.05))
left.legend(fontsize=9, loc="upper right")
figures.show(
    fig,
    alt="Left: test error against training step for four read-outs. At the end: "
    + ", ".join(f"{name} {value:.2f}" for name, value in ends.items())
    + ". Right: the rates at the end: "
    + ", ".join(f"{name} {value:.2f}" for name, value in last_rates.items() if "no BN" not in name) + ".",
    caption=f"Least squares on {few} digits, γ learned. On one clean batch the rate goes to zero, and BN ends at "
    "plain least squares, overfitted "
    "(upper dashed line), like the read-out without it. Input noise is the penalty ½|v|² (lower dashed line). Small "
    "batches leave some rate, and a noisy path.",
    source=f"{digits.title}, {few} training digits, {components} components, is it a {digit}?, one seed",
)

# %% [markdown]
# A single run on small batches says little. Here are five, with a step as small as without BN; at three times that step the
# scatter of five runs hides the effect:

# %%
left_by_batches = []
for seed in range(5):
    options = read_arms["BN, batches of 32"]
    *_, (_, last) = map(folded, read_out(X_few, t_few, seed=seed, **options))
    left_by_batches.append(last)
page.check(
    "minibatch",
    "read-out of few MNIST digits after training on batches of 32, gamma "
    "learned: the rate on all its clean training digits is above 0",
    measured=left_by_batches,
    predicted=0.0,
    kind="empirical",
    relation="above",
)

# %% [markdown]
# The paths differ more than the ends. BN's $\gamma$ takes a random start away in all directions at once. Without BN
# it stays in those directions in which digits hardly vary, and no early stopping helps; a start at zero does better.
#
# And in the network? For least squares {prf:ref}`thm-minibatch` predicts the rate that batches of 128 leave on the
# whole data. Cross-entropy is not least squares:

# %%
batches = list(zip(x.split(128), y.split(128)))[:batches_an_epoch]
whole = [(x[some], y[some])]
for network, _ in learned:
    by_batch, by_whole = (
        meter.measure(network, given, cross_entropy).by_layer()["rate"].iloc[-1]
        for given in (batches, whole)
    )
    print(f"last hidden layer, mean λ: {by_batch:+.1e} on batches of 128,"
          f" {by_whole:+.1e} on the whole")
print(f"the law for least squares: {theory.minibatch_decay(128):+.1e}")

# %% [markdown]
# In this run neither the law's number nor its sign is to be found: the network is not at rest, and its loss is nearly
# flat where it fits the training digits; a rate is in units of the loss.
#
# **For your network:** with learned $\gamma$ and no decay do not credit the rate with what generalizes. If you want
# one, put weight decay on $\gamma$; it is a rate by {prf:ref}`thm-stationarity`.
#
# ## An L2-equivalent rate is equivalent along one direction
#
# $\alpha$ is the weight decay whose pull has the same component *along* $v$. BN's pull does not point along $v$; it
# points along $\Sigma v$. On real data these are different directions.

# %%
angles = {layer: collect(learned, layer, "angle") for layer in range(len(hidden))}
for layer, values in angles.items():
    print(f"hidden {layer + 1}: median angle between Σv and v"
          f" {np.median(values[:, 0]):.0f}° at the start,"
          f" {np.median(values[:, -1]):.0f}° at the end")
page.check(
    "rate",
    "MNIST network after training, first hidden layer: median angle between "
    "BN's penalty Sigma v and weight decay's v, degrees, is above 45",
    measured=np.median(angles[0][:, -1], axis=1),
    predicted=45.0,
    kind="empirical",
    relation="above",
)

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, width=7.4, height=3.4)
for layer, key in zip(angles, ("batch", "l2")):
    common = {"bins": np.arange(0, 91, 3), "color": figures.COLORS[key]}
    left.hist(angles[layer][:, -1].ravel(), alpha=0.6, label=f"hidden {layer + 1}, end", **common)
    left.hist(angles[layer][:, 0].ravel(), histtype="step", linestyle=":", linewidth=1.6, **common)
left.set(xlabel="angle between Σv and v, degrees", title="units", xlim=(0, 90))
left.plot([], [], ":", color=figures.INK, label="start")
left.legend(fontsize=9)
rho = np.median(collect(learned, 0, "rho")[:, -1])
relative = spectrum[::-1][spectrum[::-1] > 0] / rho
stronger = int((relative > 1).sum())
right.loglog(1 + np.arange(len(relative)), relative, color=figures.COLORS["batch"], label="BN: λ sᵢ / α")
right.axhline(1, color=figures.COLORS["l2"], label="weight decay")
right.set(xlabel="principal direction of the digits", title="rate by direction", ylim=(1e-6, None))
right.legend(loc="lower left")
figures.show(
    fig,
    alt="Left: histograms of the angle between Sigma v and v. Right: the rate that BN applies to each principal "
    "direction of the digits, relative to the L2-equivalent "
    f"one: {relative[0]:.0f} in the first, above 1 in {stronger}, and far below in the other "
    f"{len(relative) - stronger}.",
    caption="Left: what BN adds and what weight decay adds point in different directions. Right: for a typical unit "
    f"of the first layer BN holds {stronger} directions harder than α says, "
    f"the strongest {relative[0]:.0f} times, and leaves hundreds nearly free.",
    source=where,
)

# %% [markdown]
# **For your network:** use $\alpha$ to compare *sizes* with a `weight_decay` that you would have set. Do not replace
# BN by that weight decay and expect the same network.
#
# ## Auto-tuned is not optimal
#
# Back to least squares, where everything is in closed form. The read-out sees $n$ training digits and noise of
# standard deviation $\sigma$ on its inputs; the noise is averaged exactly. With fixed $\gamma$ BN sets
# $1 + \lambda = \kappa/\gamma$. Along the same penalty, which rate would have been best on the *test* digits? That,
# too, is closed: with $f$ the output of the fit without BN, the best rate is
# $1 + \lambda^* = \operatorname E[f^2]/\operatorname E[f t]$ over the test digits and their noise, and the $\gamma$
# that would have set it is $\gamma^* = \kappa/(1 + \lambda^*)$. So BN is as far from the best as $\gamma$ is from
# $\gamma^*$. Does one $\gamma$ serve, as data and noise change? (Whatever is called "best" below has seen the test
# digits: it is a bound, not a method.)


# %%
identity = np.eye(components)


def compare(n, noise_std, seed):
    """Fit on n digits: kappa, gamma*, and test errors of the families."""
    rows = np.random.default_rng(seed).permutation(len(pixels))[:n]
    seen, t = features["train"][rows], targets["train"][rows]
    sample = Moments.from_data(seen, t)
    noisy = sample.with_noise(noise_std=noise_std)
    free = np.linalg.solve(noisy.cov, noisy.cross)
    kappa = np.sqrt(noisy.cross @ free)
    test = features["test"] - sample.mean
    wanted = targets["test"] - t.mean()
    second = np.mean((test @ free) ** 2) + noise_std**2 * free @ free
    best_scale = np.mean(wanted * (test @ free)) / second  # 1/(1 + lambda*)

    def error(weights):
        outputs = test @ weights
        noise = noise_std**2 * weights @ weights
        return np.mean((wanted - outputs) ** 2) + noise

    ridge = min(
        error(np.linalg.solve(noisy.cov + rate * identity, noisy.cross))
        for rate in np.geomspace(1e-2, 300, 30)
    )
    return {
        "kappa": kappa, "gamma_best": kappa * best_scale,
        "error": lambda gamma: error(gamma / kappa * free),
        "free": error(free), "ridge": ridge,
    }


sizes = [100, 140, 200, 400, 800, 1600, 3000]
noise_stds = [0.0, 0.5, 1.0, 2.0, 4.0, 6.0]
by_size = [
    [compare(n, 0.0, seed) for n in sizes] for seed in range(subsets)
]
by_noise = [compare(sizes[-1], std, 0) for std in noise_stds]
tuned = by_noise[0]["gamma_best"]
print(f"best γ for {sizes[-1]} clean training digits: {tuned:.3f}")


def table_of(cells, what):
    return np.array([[what(cell) for cell in row] for row in cells])


def rate_set(cell):
    return cell["kappa"] / tuned - 1


def rate_best(cell):
    return cell["kappa"] / cell["gamma_best"] - 1


# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, width=7.4, height=3.5)
for ax, cells, at in ((left, by_size, sizes), (right, [by_noise], noise_stds)):
    figures.band(ax, at, table_of(cells, rate_set), "set by BN, γ fixed", figures.COLORS["batch"])
    figures.band(ax, at, table_of(cells, rate_best), "best on the test digits", figures.COLORS["l2"], marker="s")
    ax.axhline(0, color=figures.INK, linewidth=0.8)
left.set(xscale="log", xlabel="training digits, no noise", title="rate λ")
right.set(xlabel=f"noise_std σ, {sizes[-1]:,} training digits", title="rate λ")
left.legend(fontsize=9)
set_n, best_n = (table_of(by_size, what).mean(axis=0) for what in (rate_set, rate_best))
set_s, best_s = (table_of([by_noise], what)[0] for what in (rate_set, rate_best))
figures.show(
    fig,
    alt=f"Left: rate against the number of training digits. At {sizes[0]} digits BN sets {set_n[0]:.2f} and "
    f"{best_n[0]:.2f} would be best; at {sizes[2]}, {set_n[2]:.2f} and {best_n[2]:.2f}. "
    f"Right: against noise. At noise {noise_stds[-1]:g} BN sets {set_s[-1]:.2f} and {best_s[-1]:.2f} would be best.",
    caption=f"One γ, the best for {sizes[-1]:,} clean digits, then kept. BN's rate moves the right way on both "
    "sides, but too little when data are short (left) and too much when noise "
    "grows (right), where it turns negative and BN inflates.",
    source=f"{digits.title}, {components} components, is it a {digit}?, closed forms, left: {subsets} subsets",
)

# %% [markdown]
# On the right the reason is plain. Noise is a penalty of its own, and once it is strong nothing needs to be added.
# The best rate is then about 0, which is where a *learned* $\gamma$ goes. A fixed $\gamma$ insists on its variance
# and fills it with noise.

# %% tags=["hide-input"]
fig, (left, right) = figures.figure(1, 2, width=7.4, height=3.5)
scales = np.linspace(0.05, 1.1, 60)
for k, key in zip((1, 2, len(sizes) - 1), ("noise", "signal", "batch")):
    curve = np.mean([[row[k]["error"](g) for g in scales] for row in by_size], axis=0)
    left.plot(scales, curve, color=figures.COLORS[key], label=f"{sizes[k]:,} digits")
    left.plot(scales[curve.argmin()], curve.min(), "o", color=figures.COLORS[key])
left.axvline(tuned, color=figures.INK, linewidth=1, linestyle=":")
left.set(xlabel="γ", title="test error, share of the variance")
left.legend(fontsize=9)
arms = {
    "no regularization": (lambda cell: cell["free"], "none", "o"),
    "BN, γ fixed": (lambda cell: cell["error"](tuned), "batch", "o"),
    "BN, best γ": (lambda cell: cell["error"](cell["gamma_best"]), "signal", "o"),
    "weight decay, best": (lambda cell: cell["ridge"], "l2", "s"),
}
for name, (what, key, marker) in arms.items():
    figures.band(right, sizes, table_of(by_size, what), name, figures.COLORS[key], marker=marker)
right.set(xscale="log", xlabel="training digits", title="test error", ylim=(0.45, 1.6))
right.legend(fontsize=9)
errors = {name: table_of(by_size, what).mean(axis=0) for name, (what, _, _) in arms.items()}
figures.show(
    fig,
    alt="Left: test error as a function of gamma, for three amounts of data; the best gamma moves to the right as "
    "data grow. Right: test error against the number of training digits; at "
    f"{sizes[2]}: " + ", ".join(f"{name} {values[2]:.2f}" for name, values in errors.items())
    + f"; at {sizes[-1]:,} they are at most {np.ptp([values[-1] for values in errors.values()]):.3f} apart.",
    caption="Left: the best γ (dots) depends on how much data there is. Right: even with the best γ, BN falls short "
    "of the best weight decay where data are short: "
    "without noise its penalty rescales the fit but cannot turn it.",
    source=f"{digits.title}, {components} components, no noise, closed forms, {subsets} subsets",
)

# %%
shown_errors = pd.DataFrame(errors, index=sizes).rename_axis("digits")
print(shown_errors.round(3).to_string())

# %% [markdown]
# With plenty of data all agree, because nothing needs to be regularized. Where it matters most, BN at a fixed
# $\gamma$ is better than nothing and worse than a search. Chapter 10 asks the same of a network,
# {doc}`with its own verdicts <noise-sweep>`.
#
# **For your network:** auto-tuned spares you the units of the inputs, not the choice. If data are short, still
# search: over weight decay, or over $\gamma$ and its decay.
#
# ## What is not proved
#
# {prf:ref}`thm-rate` is about the gradient, so it holds whatever the optimizer does with it. The bookkeeping of
# lengths and turns ({prf:ref}`thm-depth`, part 3) is about the *step*, and needs plain gradient descent: there a step
# is orthogonal to $w$. Is it, elsewhere?

# %%
optimizers = {
    "plain SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD, momentum 0.9": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-3),
}
inputs, labels = x[:256].double(), y[:256]
for name, make in optimizers.items():
    network = models.network((784, 32, 10), eps=1e-30, seed=0).double()
    w, optimizer = network[0].weight, make(network.parameters())
    along = []
    for _ in range(20):
        optimizer.zero_grad()
        cross_entropy(network(inputs), labels).backward()
        before = w.detach().clone()
        optimizer.step()
        moved = w.detach() - before
        along.append(torch.cosine_similarity(moved, before, dim=1).abs())
    cosine = torch.stack(along).mean()
    print(f"{name:18s} |cosine| of step and w: {cosine:.1e}")
    gamma = network[1].weight.detach()
    centred = inputs - inputs.mean(dim=0)
    cov = (centred.T @ centred / len(inputs)).numpy()
    v = torch.from_numpy(theory.effective_weights(w.detach(), gamma, cov))
    v.requires_grad_()
    output = network[2:](centred @ v.T + network[1].bias.detach())
    grad_v, = torch.autograd.grad(cross_entropy(output, labels), v)
    report = meter.measure(network, [(inputs, labels)], cross_entropy)
    page.check(
        "rate",
        f"digits, 20 steps of {name}: rates from bnlib.meter against those "
        "of the folded network",
        measured=report.rate,
        predicted=theory.rate(v.detach(), grad_v, gamma),
        tolerance=1e-11,
    )

# %% [markdown]
# The rate does not care; the orthogonality is gone. Beyond that, nobody has shown, as far as we know, and this book
# has not:
#
# - *Training dynamics at depth.* {prf:ref}`thm-depth` freezes everything but one layer. How the rates of several
#   layers act on each other while all move is measured in {doc}`Depth <depth>`, not proved.
# - *Generalization.* A penalty at a rate is not yet a bound on the test error. No theorem here mentions the test set.
# - *Mini-batches beyond least squares.* For cross-entropy {prf:ref}`thm-minibatch` gave neither size nor sign above.
# - *Momentum and adaptive optimizers.* Where they converge to, among many minima, and whether BN's rate changes that.
# - *Other normalizations.* Layer normalization normalizes a row over its units. It has no $\Sigma$ of the data in it,
#   and nothing here carries over unread.
#
# **For your network:** measure. One backward pass gives the rates, whatever optimizer and depth, and no theorem has
# to be believed.
#
# ## What we learned
#
# - A network on mini-batches stops far from a stationary point: rates describe steps there, not solutions.
# - Negative rates are common in layers that feed another BN layer, and they do not regularize.
# - A learned $\gamma$ ends without a rate; what is left then are batch size, noise and path.
# - BN's pull points along $\Sigma v$, far from $v$. L2-equivalent means equivalent along $v$.
# - One fixed $\gamma$ under-reacts to a lack of data and over-reacts to noise. Auto-tuned is not optimal.
#
# ## Where it stops
#
# - So does this chapter. Its numbers are of one data set, small networks, and a few seeds; rerun it on your own by
#   its parameters.
# - The share of the gradient that is left depends on the coordinates of the inputs, as gradients do. The rate does not.
