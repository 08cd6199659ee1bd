"""Show something in a notebook as HTML and in a terminal as a line of text."""

import base64
import html as markup


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


def sentence(text):
    """Show computed words as a paragraph of the page, not as a line of output.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> sentence("It does.")
    It does.
    """
    show(f"<blockquote><p>{markup.escape(text)}</p></blockquote>", text)


def offer(frame, name, words):
    """Offer a table as a CSV file that is part of the page, for programs and for whoever wants to look closer.

    Parameters
    ----------
    frame : pandas.DataFrame
        Numbers keep six significant digits; the index is left out.
    name : str
        Of the file.
    words : str
        What a row is.

    Examples
    --------
    >>> import pandas
    >>> offer(pandas.DataFrame({"rate": [0.5]}), "rates.csv", "one unit a row")
    [rates.csv] 1 rows, one unit a row
    """
    content = base64.b64encode(frame.to_csv(index=False, float_format="%.6g").encode()).decode()
    show(
        f'<p class="download"><a download="{markup.escape(name)}" href="data:text/csv;base64,{content}">'
        f"{markup.escape(name)}</a>: {len(frame)} rows, {markup.escape(words)}.</p>",
        f"[{name}] {len(frame)} rows, {words}",
    )
