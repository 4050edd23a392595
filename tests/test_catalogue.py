"""The catalogue of architectures: the docstring of every file has all sections, and the sizes are those of the papers."""

import sys
from dataclasses import asdict
from importlib.metadata import EntryPoint

import pytest

from dmm import catalogue
from dmm.architectures import find_model, list_models


@pytest.mark.parametrize("arch", list_models())
def test_every_file_says_what_it_is(arch):
    found = catalogue.summary(arch)
    assert all(value for heading, value in asdict(found).items() if heading not in ("note", "presets", "error")), found
    assert 2021 <= int(found.year) <= 2026
    text = found.text()
    assert all(f"\n  {key}" in text for key in ("year", "paper", "tokens", "mixers", "quirks"))


def test_sizes_are_those_of_the_papers():
    """Hopper's counts of DMM's Table 5, Ota's code and DMM v2's code."""
    assert catalogue.parameters("dt")["DT"].counted == 727_695
    assert catalogue.parameters("decision_mamba")["DMamba RC"] == (481_411, 481_411)
    found = {preset: count.counted for preset, count in catalogue.parameters("metamamba").items()}
    assert (found["DMM-C"], found["DMM-DL, as published"], found["DMM v2"]) == (358_403, 1_204_291, 123_587)
    assert catalogue.summary("metamamba").year == "2026" and catalogue.summary("dt").year == "2021"


def test_live_parameters_stand_beside_counted_ones():
    """Two thirds of the rows of the linear maps of DMM v1, as released, are dead."""
    text = catalogue.summary("metamamba").text()
    for words in (
        "DMM-L, as published 1,235,075 (645,251 live); DMM-L, as meant 1,235,075; ",
        "DMM-DL, as published 1,204,291 (467,011 live); DMM-DL, as meant 1,204,291; ",
    ):
        assert words in text
    assert "DT 727,695 (726,019 live); DT, Atari 2," in catalogue.summary("dt").text()


@pytest.mark.parametrize("docstring", [None, "", "Mine.", "Mine.\n\nTokens: s\nA line: with a colon."])
def test_a_docstring_without_headings_is_no_error(docstring, monkeypatch):
    monkeypatch.setattr(sys.modules[find_model("bc").__module__], "__doc__", docstring)
    found = catalogue.summary("bc")
    assert found.title == ("Mine." if docstring else "bc") and found.year == found.paper == ""
    text = found.text()
    assert text.startswith(f"bc: {found.title}\n") and "  parameters " in text
    assert not {"year", "paper", "mixers", "quirks"} & {line.split()[0] for line in text.splitlines()[1:]}


def test_installed_architectures_come_after_those_of_dmm(monkeypatch):
    monkeypatch.setattr(catalogue, "entry_points", lambda: (EntryPoint("bc", "nets:BC", "dmm.models"),))
    assert [found.arch for found in catalogue.summaries()] == [*list_models(), "bc"]
