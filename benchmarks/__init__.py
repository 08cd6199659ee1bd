"""How fast, as ratios within one run: ``make bench``.

Absolute times belong to a machine; a ratio to the bare operation, or to the usual way, measured a moment apart in the
same run, says more and travels better.
"""
