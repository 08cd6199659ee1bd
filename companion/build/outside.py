"""Whether the addresses that the site names elsewhere still answer: asked once a month, never by a build."""

import http.client
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from html import unescape

# these say that a machine asked, not that nothing is there
REFUSED = {401, 403, 405, 406, 418, 429, 503}
# some servers answer no program that does not name itself
HEADERS = {"User-Agent": "Mozilla/5.0 (link check of a book)"}
PATIENCE = 30  # seconds


def addresses(site):
    """Every address elsewhere, with the pages that name it.

    Parameters
    ----------
    site : Path

    Returns
    -------
    dict of str to list of str
    """
    found = {}
    for path in sorted(site.rglob("*.html")):
        named = re.findall(r'<a\b[^>]*?\bhref="(https?://[^"#]+)', path.read_text())
        for address in dict.fromkeys(map(unescape, named)):
            found.setdefault(address, []).append(path.relative_to(site).as_posix())
    return found


def asked(address):
    """What is wrong with an address: "" where it answers or refuses, else the reason.

    Parameters
    ----------
    address : str
    """
    try:
        request = urllib.request.Request(address, headers=HEADERS)
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code in REFUSED else f"{error.code} {error.reason}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"


def dead(site):
    """Addresses that do not answer.

    Parameters
    ----------
    site : Path

    Returns
    -------
    checked : int
    dead : dict of str to (str, list of str)
        Address to the reason, and the pages that name it.
    """
    named = addresses(site)
    with ThreadPoolExecutor(8) as pool:
        reasons = dict(zip(named, pool.map(asked, named)))
    return len(named), {address: (reasons[address], named[address]) for address in named if reasons[address]}
