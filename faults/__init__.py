"""What happens when something goes wrong, tried and counted: ``make faults``.

A fault is something that happens to a build or to the data: a process is killed, the disk is full, a byte is flipped.
What comes of it is computed from what lies on the disk afterwards; nobody types a result.

============  =============================================================
``tiny``      a book of three small chapters in a folder of its own
``builds``    builds that are killed, starved, shut out and run side by side
``kept``      what a build keeps, cut, emptied and flipped between two builds
``files``     data files flipped, cut, replaced, too large or out of reach
``fetches``   the ways that data come: two at once, broken off, another version
``table``     rows of the table: printed, kept as JSON, compared
============  =============================================================

Imports point one way: this package imports ``companion`` and ``bnlib``, and neither knows of it.
"""
