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
# # Related results, in one notation
#
# Builds on {doc}`rate`, {doc}`stationarity`, {doc}`depth`, {doc}`minibatch` and {doc}`half-tuned`.
# After it you can place what others found about BN and regularization beside these theorems.
#
# Batch normalization (BN) has been explained as a step size that tunes itself, as a smoother loss, as noise, as a
# decay of $\gamma$; and decays have been tuned by bounds, gradients and evidence. Are these rivals of the rate?
# Most follow from its theorems: a map, the three nearest peers, and two results derived.

# %% tags=["parameters"]
seed = 4  # of generated data, weights and batches
steps = 300  # of gradient descent in each run
learning_rate = 0.1  # eta, of plain gradient descent
weight_decay = 0.1  # a, on the raw weights of the hidden layer
bounds = [2.0, 3.0, 4.0, 6.0]  # gamma, the bound on the length; the fit without it has 5

# %% tags=["hide-input"]
import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy, normalize

from bnlib import models, theory, training
from companion.figures import Picture
from companion.page import check, finding, sentence
from companion.records import Source
from companion.studies.identities import walk

torch.manual_seed(seed)
rng = np.random.default_rng(seed)

# %% [markdown]
# ## The map
#
# "Read" says how far: the *text*, or the *abstract*; of {cite:t}`franke2023` and {cite:t}`immer2021` the code too. A paper
# may hold, and state better, what is derived here.
#
# |work|read|it says|here|how this book differs|
# |---|---|---|---|---|
# |**What is the rate?**| | | | |
# |{cite:t}`annamalai2022`|abstract|BN is a constraint; data, and signal against noise, tune its rate|{prf:ref}`thm-constraint`, {prf:ref}`thm-rate`, {prf:ref}`thm-noise`|own proofs; $\gamma$ sets it too|
# |{cite:t}`ioffe2015`|text|the layer; the scale of weights cancels|{prf:ref}`thm-depth`|asks for the rate|
# |{cite:t}`salimans2016`|text|length and direction, without the data|{prf:ref}`thm-rate`, $\Sigma=I$|our control|
# |{cite:t}`kohler2018`|abstract|length and direction; speed of convergence|{prf:ref}`thm-constraint`, {prf:ref}`thm-least-squares` (i)|what a length costs, no speed|
# |{cite:t}`ergen2021`|abstract|ReLU networks with BN and decay have exact convex forms|{prf:ref}`thm-stationarity`, 3|one layer; names the penalty|
# |**Decay and step**| | | | |
# |{cite:t}`vanlaarhoven2017`|abstract|decay before BN sets the step, and regularizes nothing|{prf:ref}`cor-ray` (i)|at rest $\varepsilon$ makes it a rate|
# |{cite:t}`hoffer2018`, {cite:t}`zhang2018`|abstract|norm and objective are decoupled; decay raises the step|{prf:ref}`cor-ray` (i), (iv)|no other norms or optimizers|
# |{cite:t}`arora2018`, {cite:t}`cai2018`|abstract|with BN gradient descent converges at any step|{prf:ref}`cor-ray` (ii)|a bound, no convergence|
# |{cite:t}`li2019`|abstract|decay is an exponentially growing step, momentum included|{prf:ref}`cor-ray` (iii)|plain steps|
# |{cite:t}`wan2020`|text|length and angle settle, under assumptions|{prf:ref}`cor-ray` (iv), {prf:ref}`thm-momentum`|exact on average; no speed|
# |{cite:t}`kosson2023`|abstract|decay balances the turns of neurons: SGD, Adam, Lion|{prf:ref}`thm-momentum`|exact for SGD; AdamW nearly|
# |{cite:t}`lobacheva2021`|abstract|decay and BN can destabilize training in periods|{prf:ref}`cor-ray` (iv)|averages hold; not when periods come|
# |{cite:t}`kodryan2022`|abstract|on the sphere a fixed step converges, wanders or diverges|{prf:ref}`cor-ray` (ii)|what sets that step|
# |{cite:t}`lyu2022`|abstract|with decay, gradient descent reduces sharpness|{prf:ref}`cor-ray` (ii)|nothing on sharpness|
# |{cite:t}`liu2021`|abstract|a larger step does not explain decay, which clears weights outside the inputs' span|{prf:ref}`cor-ray` (iii)|*disagrees*: under plain steps a *growing* one does all that decay does before BN|
# |{cite:t}`dangelo2023`|abstract|decay never helps as a regularizer; it changes dynamics|{prf:ref}`cor-ray` (i), {prf:ref}`thm-stationarity`, 4|agrees before BN; on $\gamma$ decay *is* a penalty, useful or not|
# |**Decay on γ**| | | | |
# |{cite:t}`kim2022`|abstract|which $\gamma$ of a residual network to decay, by variance and step|{prf:ref}`thm-stationarity`, 4|what the decay is, not whether it helps|
# |**Noise and batches as a penalty**| | | | |
# |{cite:t}`bishop1995`|abstract|noise on inputs is Tikhonov|{prf:ref}`thm-noise`|BN fixes signal plus noise|
# |{cite:t}`camuto2020`|abstract|noise on activations penalizes high frequencies, widens margins|{prf:ref}`thm-noise`, {prf:ref}`thm-split`|exact at the first layer|
# |{cite:t}`luo2018`|abstract|BN is population normalization and a decay of $\gamma$|{prf:ref}`thm-minibatch`|exact for Gaussian least squares; mean-zero noise of its variance would be worth twice|
# |{cite:t}`lian2018`, {cite:t}`teye2018`|abstract|batches change the objective; are approximate inference|{prf:ref}`thm-minibatch`|one case in closed form|
# |**Gradients and margins**| | | | |
# |{cite:t}`santurkar2018`|text|gradients get smaller and smoother|{prf:ref}`cor-smoothing`|an equality; no curvature|
# |{cite:t}`meterez2023`|abstract|a linear network with BN, gradients bounded at any depth|{prf:ref}`cor-smoothing`|one layer|
# |{cite:t}`cao2023`|abstract|gradient descent with BN ends at uniform margins; how fast|{prf:ref}`thm-margins`, 2|minimizers, every $\gamma$; no speed|
# |{cite:t}`pan2023`|abstract|BN and decay further neural collapse|{prf:ref}`thm-margins`, 3|logits; exact without decay|
# |**Choosing a rate from data**| | | | |
# |{cite:t}`franke2023`|abstract|bound each weight matrix; a multiplier is the rate|{prf:ref}`thm-stationarity`, 5|below|
# |{cite:t}`ghiasi2022`|abstract|decay from the strengths of gradient and weights|{prf:ref}`thm-rate`|below|
# |{cite:t}`mackay1992`, {cite:t}`immer2021`|abstract|decay of most evidence; in networks, during training|{prf:ref}`cor-evidence`|below|
# |{cite:t}`antoran2022`|abstract|this evidence and normalization interact badly|{prf:ref}`cor-ray` (i)|one reason: no data tell $\lvert w\rvert$|
# |{cite:t}`wang2024`|abstract|AdamW's decay is a time scale; with more data the best falls|{prf:ref}`thm-momentum`, {prf:ref}`thm-half-tuned`|a needed *rate* falls too, like $1/n$|
#
# ## The nearest peers
#
# **A bound.** {cite:t}`franke2023` bound the size of each weight matrix, say $\lvert v\rvert\le\gamma$. A multiplier grows while
# the bound is broken and falls to 0 while it is not; their code takes the bound from the size after some steps, or
# where its growth bends. At rest the multiplier is $-v'\nabla L/\lvert v\rvert^2$, the L2-equivalent rate $\alpha$ of
# {doc}`rate`. In the norm of $\Sigma$ it is BN's $\lambda$, cut off at 0 as BN's $\varepsilon>0$ does. Two warnings. In front
# of BN $w'\nabla_wJ=0$: at rest the multiplier is 0, and the bound sets the step. And a bound at the true length makes
# less than half of what few rows ask for, on average ({prf:ref}`thm-half-tuned`). Prefer a bound where no BN follows and no
# rate is known; where BN follows, set $\gamma$ or its decay.
#
# ### Check it in five lines
#
# Their rule in BN's norm, on least squares with $R\sigma_t=5$. Where does the multiplier end?

# %%
Sigma, c = np.array([[4.0, 2.0], [2.0, 2.0]]), np.array([6.0, 7.0])


def multiplier(gamma, rate=0.0):
    v = np.zeros(2)
    for _ in range(6000):
        v = v - 0.05 * (Sigma @ v - c + rate * Sigma @ v)
        rate = max(0.0, rate + 0.01 * (v @ Sigma @ v - gamma**2))
    return rate


ends = [multiplier(gamma) for gamma in bounds]
print([f"bound {gamma:g}: {end:.4f}, BN {5 / gamma - 1:.4f}" for gamma, end in zip(bounds, ends)])

# %% tags=["hide-input"]
bounded = check(
    "stationarity",
    "least squares, v'Sigma v <= gamma^2: the multiplier of constrained parameter regularization against max(0, R sigma_t/gamma - 1)",
    measured=ends,
    predicted=[max(0.0, 5 / gamma - 1) for gamma in bounds],
    tolerance=1e-9,
)
finding(
    "A bound on the length has BN's rate as its multiplier where BN shrinks, 0 where it stretches, to {difference:.0e}.",
    bounded,
)

# %% [markdown]
# **Gradient ratios.** {cite:t}`ghiasi2022` reset the decay at each step from the strengths of the loss's gradient and of the
# weights; public implementations take a running mean of $\xi\lvert\nabla L\rvert/\lvert v\rvert$, $\xi$ constant. Our
# $\alpha=\cos(-\nabla L,v)\,\lvert\nabla L\rvert/\lvert v\rvert$ is that ratio times a cosine: only the gradient along the
# weights works against a decay. At rest under a decay $a$ the ratio is $a$, so $a=\xi a$: on a full batch no decay but
# 0 can rest unless $\xi=1$, and what stays comes from the noise of batches. In front of BN the cosine is 0, and $\xi$
# sets the turn of a step whatever the learning rate (exercise 1); their abstract reports less sensitivity to it. Prefer it
# for what it was tested on, adversarial robustness; to know the penalty at work, read $\alpha$.
#
# **Evidence.** {cite:t}`mackay1992` chooses the decay under which the data are most probable; so does `BayesianRidge` in
# {doc}`half-tuned`. {cite:t}`immer2021` do it in a network, layer by layer, by a Laplace approximation renewed during
# training. With a prior of BN's shape it can be held against our prescription.
#
# ::::{prf:corollary} The evidence in BN's norm
# :label: cor-evidence
#
# Let $v$ be $N\bigl(0,\tfrac{s_e^2}{n\lambda}\hat\Sigma^{-1}\bigr)$, $\hat\Sigma$ the covariance of $n$ rows, of rank $d$; noise of
# variance $s_e^2$, fitted too; a free shift; $F=\frac{(n-d-1)\hat R^2}{d(1-\hat R^2)}>1$. Given the rows $v$ has the mean
# $\hat v/(1+\lambda)$. The evidence is largest at $\lambda_{\text{ev}}=\frac1{F-1}$, and the prescription of
# {prf:ref}`thm-half-tuned` is $\hat\lambda=\frac{n-1}{n-d-2}\,\lambda_{\text{ev}}$.
# ::::
#
# :::{dropdown} Proof
# The precision of $v$ is $(1+\lambda)n\hat\Sigma/s_e^2$: hence the mean. Centred targets have covariance $s_e^2(I+H/\lambda)$, $H$ the
# projection on the centred inputs. Let $W$ be the explained, $U$ the residual sum of squares and $b=1+1/\lambda$. With the best
# $s_e^2$, minus twice the log evidence is $d\log b+(n-1)\log(U+W/b)$ and a constant. Its derivative vanishes only where
# $d(Ub+W)=(n-1)W$: at $b=F$, the minimum. And $R^2_{\mathrm{adj}}=(1-\frac1F)\hat R^2$,
# $1-R^2_{\mathrm{adj}}=\frac{n-1}{n-d-1}(1-\hat R^2)$, so $\hat\lambda=\frac{n-1}{n-d-2}\cdot\frac1{F-1}$. $\square$
# :::
#
# So evidence estimates the need $\delta$ at the *same* inputs; the prescription adds what new ones cost. For one linear
# unit prefer ridge by evidence or leave-one-out, which can turn the fit. In a network evidence costs curvature, a
# rate one backward pass; but that reads and does not tune. A prior on weights before BN chooses nothing: their exact
# evidence is the same under every decay, as the loss does not see their length.

# %% tags=["hide-input"]
n, d = 40, 6
points = rng.standard_normal((n, d))
targets = points @ rng.standard_normal(d) + 3 * rng.standard_normal(n)
q, _ = np.linalg.qr(points - points.mean(axis=0))
centred, projection = targets - targets.mean(), q @ q.T


def surprise(log_rate):
    """Minus twice the log evidence, the best noise variance put in."""
    cov = np.eye(n) + projection / np.exp(log_rate)
    return np.linalg.slogdet(cov)[1] + (n - 1) * np.log(centred @ np.linalg.solve(cov, centred))


found = np.exp(minimize_scalar(surprise, bracket=(-3, 0), tol=1e-9).x)
explained = np.square(q.T @ centred).sum() / np.square(centred).sum()
check(
    "half-tuned",
    "rate that maximizes the evidence in BN's norm, by search, against the prescription times (n - d - 2)/(n - 1)",
    measured=found,
    predicted=theory.recommended_rate(explained, n, d) * (n - d - 2) / (n - 1),
    tolerance=1e-6,  # a search for a minimum finds half the digits
    source=Source(title="generated Gaussian data", train_size=n, seeds=[seed]),
)

# %% [markdown]
# ## Four facts about a length that nobody sees
#
# {prf:ref}`thm-depth`: as $J(\tau w)=J(w)$ for $\tau>0$, $\nabla_wJ$ is orthogonal to $w$, and
# $\nabla_wJ(w)=\nabla_wJ(u)/\lvert w\rvert$ with $u=w/\lvert w\rvert$. Half of the map is bookkeeping with these.
#
# ::::{prf:corollary} Plain gradient descent on a scale-invariant loss
# :label: cor-ray
#
# Let $\varepsilon=0$, $\eta>0$, $a\ge0$, $p=1-\eta a>0$, and $w_{k+1}=p\,w_k-\eta\,\nabla J_k(w_k)$. The loss $J_k$ may
# change with the step, as with mini-batches and other parameters that train. Write $u_k=w_k/\lvert w_k\rvert$,
# $g_k=\nabla J_k(u_k)$ and $G_k=\lvert w_k\rvert^2/\eta$.
#
# **(i)** *Decay on $w$ is not a penalty on the function.* $D_a(w)=J(w)+\tfrac a2\lvert w\rvert^2$ satisfies
# $D_a(\tau w)=D_{a\tau^2}(w)$, and $\inf_wD_a=\inf_wJ$ for every $a$.
#
# **(ii)** *The step tunes itself.* $\eta$ leaves the equations:
#
# $$\frac{w_{k+1}}{\lvert w_k\rvert}=p\,u_k-\frac{g_k}{G_k},\qquad G_{k+1}=p^2G_k+\frac{\lvert g_k\rvert^2}{G_k}.$$
#
# For $a=0$ the effective step $1/G_K=\eta/\lvert w_K\rvert^2$ is at most
# $\bigl(G_0^2+2\sum_{k<K}\lvert g_k\rvert^2\bigr)^{-1/2}$, however large $\eta$ is.
#
# **(iii)** *Decay on $w$ is a growing step.* Without decay, with steps $\eta_k=\eta\,p^{-(2k+1)}$ for $w$ and all else as
# before, the directions $u_k$ are the same, hence the network at every step.
#
# **(iv)** *Decay on $w$ sets the speed of turning.* Every step turns $w$ by an angle $\varphi_k$ with
#
# $$\cos\varphi_k=p\,\frac{\lvert w_k\rvert}{\lvert w_{k+1}\rvert},\qquad\text{so}\qquad\Bigl(\prod_{k<K}\cos\varphi_k\Bigr)^{1/K}=p\,\Bigl(\frac{\lvert w_0\rvert}{\lvert w_K\rvert}\Bigr)^{1/K}.$$
#
# A step that keeps the length turns $w$ by $\arccos(1-\eta a)\approx\sqrt{2\eta a}$. If lengths stay between positive
# bounds, the geometric mean of the cosines tends to $1-\eta a$, whatever the data, losses and network.
# ::::
#
# :::{dropdown} Proof
# **(i)** $D_a(\tau w) = J(w) + \tfrac a2\tau^2\lvert w\rvert^2$ tends to $J(w)$ for $\tau \to 0$, and $D_a \ge J$.
# **(ii)** $\nabla J_k(w_k) = g_k/\lvert w_k\rvert$; divide the step by $\lvert w_k\rvert$. As $g_k$ is orthogonal to $u_k$,
# $\lvert w_{k+1}\rvert^2 = p^2\lvert w_k\rvert^2 + \eta^2\lvert g_k\rvert^2/\lvert w_k\rvert^2$; divide by $\eta$. For $p = 1$
# the square is $G_{k+1}^2 = G_k^2 + 2\lvert g_k\rvert^2 + \lvert g_k\rvert^4/G_k^2 \ge G_k^2 + 2\lvert g_k\rvert^2$; add up.
# **(iii)** Let $y_k = p^{-k} w_k$. As $\nabla J_k(w_k) = p^{-k}\nabla J_k(y_k)$,
# $y_{k+1} = y_k - \eta\,p^{-(k+1)}\,\nabla J_k(w_k) = y_k - \eta\,p^{-(2k+1)}\,\nabla J_k(y_k)$: training without decay, in the
# directions of $w_k$. The network computes the same, so all other parameters receive the same gradients.
# **(iv)** $w_k'w_{k+1} = p\lvert w_k\rvert^2$ by orthogonality; divide by both lengths. In the product the lengths cancel but
# for the first and the last, whose ratio to the power $1/K$ tends to 1 if they stay between positive bounds. $\square$
# :::
#
# This is *not* the tuning of this book: it tunes a *step*, through $\lvert w\rvert$, and leaves the minima where they are.
# The rate lives on the effective weights $v$, does not see $\lvert w\rvert$, and moves the minimum. The checks train a small
# network with BN on mini-batches; in the picture its weights start at three lengths.

# %% tags=["hide-input"]
rows, inputs, hidden, classes = 512, 10, 16, 3
mixing = rng.standard_normal((inputs, inputs)) / np.sqrt(inputs)
x = torch.from_numpy(rng.standard_normal((rows, inputs)) @ mixing + 0.5)
scores = torch.from_numpy(3 * rng.standard_normal((inputs, classes)))
labels = torch.multinomial((x @ scores).softmax(dim=1), 1)[:, 0]
shape = {"network": f"{inputs}-{hidden}-{classes}", "steps": steps}
source = Source(title="generated data", train_size=rows, seeds=[seed], conditions=shape)
p = 1 - learning_rate * weight_decay


def fresh_network(length=1.0):
    """The same directions for every run; raw weights `length` times as long."""
    network = models.network((inputs, hidden, classes), eps=1e-30, seed=seed, dtype=torch.float64)
    network[0].weight.data *= length
    return network


def descend(step_of, decay=0.0, length=1.0):
    """Plain SGD: raw weights of the hidden layer at every step, cosines of their turns, the network."""
    network = fresh_network(length)
    w, *rest = network.parameters()
    draws, path = np.random.default_rng(seed), []
    chosen = (draws.choice(rows, 64, replace=False) for _ in range(steps))
    groups = [{"params": [w], "weight_decay": decay}, {"params": rest, "lr": learning_rate}]
    batches = ((x[kept], labels[kept]) for kept in chosen)
    settings = {"parameters": groups, "observe": lambda *_: path.append(w.detach().clone())}
    training.fit(network, batches, cross_entropy, step_of, **settings)
    path = torch.stack(path)  # (steps + 1, units, inputs)
    return path, torch.cosine_similarity(path[1:], path[:-1], dim=-1), network


def decayed_loss(network, length, decay):
    scaled = length * network[0].weight
    loss = cross_entropy(network[1:](x @ scaled.T), labels)
    return (loss + decay / 2 * scaled.square().sum()).item()


check(
    "depth",
    "loss of a BN network plus weight decay: at raw weights 3 w with decay a against w with decay 9 a",
    measured=decayed_loss(fresh_network(), 3.0, weight_decay),
    predicted=decayed_loss(fresh_network(), 1.0, 9 * weight_decay),
    tolerance=1e-13,
    source=source,
)
path, other = descend(0.1)[0], descend(10.0, length=10.0)[0]
check(
    "depth",
    "directions of all raw weights at every step: a hundred times the step at ten times the length against the run itself",
    measured=normalize(other, dim=-1).numpy(),
    predicted=normalize(path, dim=-1).numpy(),
    tolerance=1e-11,
    source=source,
)
decayed, turns, with_decay = descend(learning_rate, decay=weight_decay)
_, _, with_growth = descend(lambda k: learning_rate * p ** -(2 * k + 1))
same = check(
    "depth",
    "outputs after SGD on mini-batches: weight decay on the raw weights against no decay and an exponentially growing step",
    measured=with_decay(x).detach().numpy(),
    predicted=with_growth(x).detach().numpy(),
    tolerance=1e-11,
    source=source,
)
lengths = decayed.norm(dim=-1)
check(
    "depth",
    "cosine of every turn of every unit under SGD with weight decay a against (1 - eta a) |w| / |w next|",
    measured=turns.numpy(),
    predicted=(p * lengths[:-1] / lengths[1:]).numpy(),
    tolerance=1e-12,
    source=source,
)
finding(
    "Weight decay in front of BN is a growing step: {taken} steps with decay, and as many without it"
    " while the step grew {grown:.0f}-fold, end in the same network, to {difference:.0e}.",
    same,
    taken=steps,
    grown=p ** (-2 * (steps - 1)),  # the last step over the first
)

picture, average, turn = Picture(height=3.2), 25, np.degrees(np.arccos(p))
for length, color in zip((0.3, 1.0, 3.0), ("signal", "batch", "l2")):
    along = descend(learning_rate, decay=weight_decay, length=length)[1]
    angles = torch.rad2deg(along.clamp(max=1).arccos()).mean(dim=1).numpy()
    smooth = np.convolve(angles, np.ones(average) / average, mode="valid")
    picture[0].line(np.arange(len(smooth)) + average / 2, smooth, f"start × {length:g}", color)
picture[0].level(turn)
picture[0].note(f"the dashed level is arccos(1 − ηa) = {turn:.1f}")
picture[0].set(yscale="log", xlabel="step", ylabel="turn a step, degrees", legend=True)
settled = float(torch.rad2deg(turns.clamp(max=1).arccos())[-steps // 4 :].mean())
picture.show(
    says="With weight decay the angle of a step forgets where the length began, and settles where only"
    f" η and a put it (dashed: {turn:.1f} degrees). Running means over {average} steps.",
    source=source,
    name="related-turning",
)

# %% [markdown]
# ## Smoothing, as an equality
#
# {cite:t}`santurkar2018` bound the gradient at BN's input by that at its output: theorem 4.1 there. In our notation it is
# an equality, and the rate is in it.
#
# ::::{prf:corollary} The gradient that BN passes on, exactly
# :label: cor-smoothing
#
# Let $z$ be the pre-activations of a unit over a batch of $M$, $\hat z=(z-\bar z)/s$, $y=\gamma\hat z+\beta$ and
# $h=\partial J/\partial y$, a vector of $M$ numbers. For $\varepsilon\ge0$, $s>0$
#
# $$\Bigl\lvert\frac{\partial J}{\partial z}\Bigr\rvert^2=\frac{\gamma^2}{s^2}\Bigl(\lvert h\rvert^2-\frac1M\Bigl(\frac{\partial J}{\partial\beta}\Bigr)^2-\frac1M\Bigl(1+\frac{\varepsilon}{q+\varepsilon}\Bigr)(\gamma\lambda)^2\Bigr).$$
# ::::
#
# :::{dropdown} Proof
# Let $P$ subtract the mean. $\mathrm ds = \langle\hat z, \mathrm dz\rangle/M$, so
# $\mathrm d\hat z = \frac1s [P - \frac1M\hat z\hat z']\,\mathrm dz$ and
# $\partial J/\partial z = \frac\gamma s [Ph - \frac1M\langle\hat z, h\rangle\hat z]$. Square it:
# $\lvert Ph\rvert^2 = \lvert h\rvert^2 - \frac1M\langle 1, h\rangle^2$, $P\hat z = \hat z$, $\lvert\hat z\rvert^2 = Mq/(q + \varepsilon)$.
# Then $\langle 1, h\rangle = \partial J/\partial\beta$ and
# $\langle\hat z, h\rangle = \partial J/\partial\gamma = -\gamma\lambda$ by {prf:ref}`thm-rate`. $\square$
# :::
#
# BN takes off the constant part of the gradient and what its penalty cancels. With $\gamma$ and $\beta$ learned and at
# rest both are 0, and only $\gamma^2/s^2$ is left.

# %% tags=["hide-input"]
sides = []
for eps in (1e-30, 0.5):
    network = fresh_network()
    network[1].eps = eps
    torch.nn.init.uniform_(network[1].weight, -2, 2)
    (layer,) = walk(network, x, labels)
    var = layer.q + layer.eps
    taken = layer.grad_beta**2 + (1 + layer.eps / var) * layer.grad_gamma**2
    left_over = np.square(layer.grad_y).sum(axis=0) - taken / rows
    sides.append((np.square(layer.grad_z).sum(axis=0), layer.gamma**2 / var * left_over))
measured, predicted = np.swapaxes(sides, 0, 1)
equality = check(
    "rate",
    "squared gradient at the input of BatchNorm1d, every hidden unit, no eps and eps = 0.5, against the equality with the rate in it",
    measured=measured,
    predicted=predicted,
    tolerance=1e-12,
    source=source,
)
finding("BN's smoothing is an equality with the rate in it: torch, to {difference:.0e}.", equality)

# %% [markdown]
# ## What it means for your network
#
# - Weight decay before BN penalizes nothing; under plain SGD a step turns by about $\sqrt{2\eta a}$. A bound, a gradient
#   ratio or an evidence for those weights sets no rate either. For one turn to $\gamma$, its decay, or noise on the inputs.
#
# ## What we learned

# %% tags=["hide-input"]
sentence(
    f"With η = {learning_rate:g} and decay {weight_decay:g} a step turned the weights by {settled:.1f} degrees on"
    f" average over the last quarter of training; η and decay alone say {turn:.1f}. The evidence of {n} rows with"
    f" {d} inputs chose the rate {found:.3f}; the prescription is {theory.recommended_rate(explained, n, d):.3f}."
)

# %% [markdown]
# - BN tunes a *step*, through $\lvert w\rvert$, and a *rate*, through the constraint on $v$. Decay before BN acts on the first.
# - The multiplier of a bound is BN's rate, cut off at 0; a gradient ratio is the rate without its cosine; evidence in BN's
#   norm is the prescription, short of what new inputs cost.
#
# ## Where it stops
#
# The four facts are about plain gradient descent ({doc}`momentum` has more), smoothing about one layer and one step. Peers
# were held against theorems, not run on data. The literature is sampled, not surveyed.
#
# ## Exercises
#
# **1. Derive.** Let the decay follow the gradient ratio, $a_k=\xi\lvert\nabla J_k(w_k)\rvert/\lvert w_k\rvert$ with $0<\xi<1$, in
# {prf:ref}`cor-ray`. By how much does a step that keeps the length turn $w$?
#
# :::{dropdown} Solution
# With $\zeta=\lvert g_k\rvert/G_k$ is $\eta a_k=\xi\zeta$, so $p=1-\xi\zeta$. By (ii) the length stays if $(1-\xi\zeta)^2+\zeta^2=1$:
# $\zeta=2\xi/(1+\xi^2)$. By (iv) $\cos\varphi=1-\xi\zeta=\frac{1-\xi^2}{1+\xi^2}$: $\varphi=2\arctan\xi$, whatever $\eta$, data and loss.
# :::
#
# **2. Run.** Set `weight_decay = 0.02`. Where will the dashed line of the picture be, and are 300 steps enough to
# get there? Run it, then choose `steps`.
#
# :::{dropdown} Solution
# $\arccos(1 - 0.1 \cdot 0.02) = 3.6$ degrees, instead of 8.1. Away from its level $\lvert w\rvert^2$ falls by $p^2 \approx 0.996$ a
# step. From nine times the square that takes about $\ln 9/0.004 \approx 550$ steps: 300 are not enough, 1500 are plenty.
# :::
