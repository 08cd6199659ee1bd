"""Batch normalization as an auto-tuned regularizer: closed forms, models and a meter.

Read the modules in this order; each imports only those before it.

=================  ==========================================================
``validation``     what every public function says about bad input
``moments``        the statistics of data that the closed forms need (NumPy)
``theory``         the closed forms themselves (NumPy, float64)
``data``           MNIST and its kin, fixed splits, additive noise
``models``         networks with a named normalization, from torch's layers
``meter``          the rate that batch normalization sets, in your network
``stack``          many small networks trained as one
``training``       a seeded, deterministic trainer for paired experiments
``experiments``    sweeps over arms, conditions and seeds, as a table
``display``        something shown in a notebook, and as text in a terminal
``claims``         measured against predicted, with an interval and a verdict
``plotting``       one style for every figure
``comparison``     untuned batch normalization against a search over decays
=================  ==========================================================
"""

__version__ = "0.1.0"
