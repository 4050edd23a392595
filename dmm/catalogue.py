"""Summaries of architectures, from the docstrings of their files: Paper, Official, Tokens, Mixers, Differs, Quirk, Note."""

import re
import sys
from dataclasses import dataclass

from dmm.models import build_model, count_parameters, find_model, list_models
from dmm.tasks import find_task


@dataclass(frozen=True, kw_only=True)
class ArchitectureSummary:
    """An architecture in words. A heading that the docstring does not have is empty."""

    arch: str  # the name of its file
    title: str  # the first line of the docstring
    paper: str = ""
    official: str = ""  # the authors' repository
    tokens: str = ""
    mixers: str = ""
    differs: str = ""  # from the paper or its code
    quirk: str = ""  # of the paper's code, kept here
    note: str = ""

    @property
    def year(self) -> str:
        """The year of the paper. If there are several papers, the latest."""
        in_words = re.findall(r"\b20\d\d\b(?!\.)", self.paper)
        in_numbers = [f"20{number[:2]}" for number in re.findall(r"arXiv (\d{4})\.\d{5}", self.paper)]
        return max(in_words + in_numbers, default="")

    def text(self) -> str:
        """One paragraph."""
        counts = ", ".join(f"{preset} {count:,}" for preset, count in parameters(self.arch).items())
        lines = {
            "year": self.year,
            "paper": self.paper,
            "tokens": self.tokens,
            "mixers": self.mixers,
            "quirks": self.quirk,
            "parameters": f"{counts} (on Hopper, at the paper's default size)",
        }
        return "\n".join([f"{self.arch}: {self.title}"] + [f"  {key:<11}{value}" for key, value in lines.items()])


def summary(arch: str) -> ArchitectureSummary:
    """The summary of one architecture. Raises ValueError for an unknown one."""
    text = sys.modules[find_model(arch).__module__].__doc__ or ""
    first, *rest = re.split(r"^(Paper|Official|Tokens|Mixers|Differs|Quirk|Note): ", text.strip(), flags=re.MULTILINE)
    parts = zip(rest[::2], rest[1::2], strict=True)
    title = first.splitlines()[0] if first else arch
    return ArchitectureSummary(
        arch=arch, title=title, **{heading.lower(): " ".join(part.split()) for heading, part in parts}
    )


def parameters(arch: str) -> dict[str, int]:
    """The number of parameters of each preset (or of the default) on Hopper, at the paper's default size."""
    spaces, presets = find_task("hopper").spaces, find_model(arch).presets or {arch: {}}
    return {preset: count_parameters(build_model(arch, overrides, spaces, 20)) for preset, overrides in presets.items()}


def summaries() -> list[ArchitectureSummary]:
    """The summaries of all architectures."""
    return [summary(arch) for arch in list_models()]
