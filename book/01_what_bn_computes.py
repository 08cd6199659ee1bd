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
# # What batch normalization computes
#
# Hello $x^2$.
#
# :::{prf:theorem} A test
# :label: thm-test
# $$a = b$$
# :::
#
# :::{dropdown} Proof
#
# Because.
# :::

# %% tags=["parameters"]
seed = 0

# %%
import numpy as np

from bnlib import claims, plotting

# %%
fig, ax = plotting.figure()
ax.plot([1, 2, 3], label="a")
ax.legend()
ax.set_xlabel("noise_std")
plotting.show(fig, alt="a line", caption="A line.", source="closed form, no data", name="main-result")

# %%
claims.check("T1", "one is one", 1.0, 1.0)

