"""SHA-256 sums of a site's files, and what differs between two sites."""

import hashlib

FILE = "SHA256SUMS"


def sums(site):
    """The sum of every file by its path, the list of sums itself left out."""
    files = (path for path in sorted(site.rglob("*")) if path.is_file())
    found = {path.relative_to(site).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    found.pop(FILE, None)
    return found


def listed(site):
    """The text of ``SHA256SUMS``, as ``sha256sum --check`` reads it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums(site).items()))


def are_right(site):
    """Whether a site is what its list of sums says: no file cut, changed, lost or added."""
    return (site / FILE).is_file() and (site / FILE).read_bytes() == listed(site).encode()


def differing(one, other):
    """Names of the files that two sites do not share byte by byte."""
    first, second = sums(one), sums(other)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
