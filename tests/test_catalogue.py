"""The catalogue of architectures: the docstring of every file has all sections, and the sizes are those of the papers."""

import pytest

from dmm import catalogue
from dmm.models import list_models


@pytest.mark.parametrize("name", list_models())
def test_every_file_says_what_it_is(name):
    parts = catalogue.sections(name)
    assert set(catalogue.SECTIONS) <= set(parts) and all(parts.values()), set(catalogue.SECTIONS) - set(parts)
    assert 2021 <= int(catalogue.year(name)) <= 2026


def test_sizes_are_those_of_the_papers():
    """Hopper's counts of DMM's Table 5, Ota's code and DMM v2's code."""
    assert catalogue.parameters("dt") == {"dt": 727_695}
    assert catalogue.parameters("decision_mamba")["DMamba RC"] == 481_411
    found = catalogue.parameters("metamamba")
    assert (found["DMM-C"], found["DMM-DL"], found["DMM v2"]) == (358_403, 1_204_291, 123_587)
    assert catalogue.year("metamamba") == "2026" and catalogue.year("dt") == "2021"


def test_a_paragraph_for_each():
    found = catalogue.entries()
    assert len(found) == len(list_models())
    assert all(f"\n  {key}" in entry for entry in found for key in ("year", "paper", "tokens", "mixers", "quirks"))
