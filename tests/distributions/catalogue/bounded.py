"""Distributions over an interval or a circle."""

from tests.distributions.catalogue.entry import Entry

ENTRIES: list[Entry] = []
