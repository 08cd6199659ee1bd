"""Fonts with the characters that the site has, and no others."""

import io

from fontTools import subset

# what KaTeX makes without any such character in its text: pieces of tall brackets and roots
PIECES = range(0x239B, 0x23B8)


def with_characters(path, characters):
    """A font cut down to some characters.

    Parameters
    ----------
    path : Path
        A WOFF2 file.
    characters : iterable of str

    Returns
    -------
    bytes
        The same at every call.
    """
    # as it was made: a date of now would make every build another one
    options = subset.Options(flavor="woff2", hinting=False, layout_features=["*"], recalc_timestamp=False)
    made = io.BytesIO()
    with path.open("rb") as file, subset.load_font(file, options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=[*map(ord, characters), *PIECES])
        subsetter.subset(font)
        subset.save_font(font, made, options)
    return made.getvalue()
