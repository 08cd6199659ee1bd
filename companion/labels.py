"""Labels at the ends of curves, where a reader need not look up a colour in a legend."""

import numpy as np

LINE, LETTER = 11.5, 4.8  # points, of a label
LABEL_AT_MOST = 0.45  # of the width of a panel
SHIFTED = 0.4  # lines that a label may stand beside its curve: farther away, nobody knows whose it is


def ends_of_curves(ax):
    """Where the labels of curves stand, if each has room at the end of its curve.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        As large as it will be.

    Returns
    -------
    list of (str, float, float, float), or None
        Label, end of the curve in fractions of the axes, and the shift upwards in points; None if one has no room.
    """
    found, (width, height) = [], ax.get_window_extent().size * 72 / ax.figure.dpi
    for handle, label in zip(*ax.get_legend_handles_labels()):
        line = handle[0] if isinstance(handle, tuple) else handle
        if not hasattr(line, "get_xydata") or len(label) * LETTER > LABEL_AT_MOST * width:
            return None
        points = np.column_stack([np.asarray(values, dtype=np.float64) for values in line.get_data(orig=False)])
        points = ax.transAxes.inverted().transform(line.get_transform().transform(points))
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) == 0 or not (0.8 <= (last := points[points[:, 0].argmax()])[0] <= 1.01 and 0 <= last[1] <= 1):
            return None
        found.append((label, *last))
    found.sort(key=lambda one: one[2])
    heights = [y * height for _, _, y in found]
    shifts = np.subtract(apart(heights, LINE), heights) if found else []
    if not found or np.abs(shifts).max() > SHIFTED * LINE:
        return None
    return [(label, x, y, shift) for (label, x, y), shift in zip(found, shifts)]


def apart(places, gap):
    """Sorted places, moved as little as it takes to keep them `gap` apart.

    Examples
    --------
    >>> [float(place) for place in apart([0.0, 10.0, 11.0, 40.0], 5)]
    [0.0, 8.0, 13.0, 40.0]
    """
    groups = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _lowest(groups[-1], gap) < _lowest(groups[-2], gap) + gap * len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    return np.concatenate([_lowest(group, gap) + gap * np.arange(len(group)) for group in groups])


def _lowest(group, gap):
    """Where a group of labels begins that is as near to its places as can be."""
    return np.mean(group) - gap * (len(group) - 1) / 2
