"""Show something in a notebook as HTML and in a terminal as a line of text."""


def show(html, text, **mime):
    """Display `html` where a notebook runs this, else print `text`.

    Parameters
    ----------
    html, text : str
        The same thing in two forms.
    **mime : JSON-serializable
        Further forms for programs that read the notebook; ``claim`` becomes the MIME type
        ``application/vnd.bnlib.claim+json``.

    Examples
    --------
    >>> show("<b>rate</b>", "rate")
    rate
    """
    from IPython import get_ipython

    if get_ipython() is None:
        print(text)
        return
    from IPython.display import display

    bundle = {"text/html": html, "text/plain": text}
    bundle |= {f"application/vnd.bnlib.{name}+json": value for name, value in mime.items()}
    display(bundle, raw=True)
