"""Summaries of architectures, from the docstrings of their files: Paper, Official, Tokens, Mixers, Differs, Quirk, Note."""

import re
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

from dmm.architectures import SHIPPED, build_model, distribution, entry_points, find_model, list_models
from dmm.models import count_parameters
from dmm.tasks import find_task


class ParameterCount(NamedTuple):
    """The number of parameters of a model."""

    counted: int  # all parameters, as the papers count
    live: int  # parameters that change the loss

    def text(self) -> str:
        """Both numbers if they differ."""
        return f"{self.counted:,}" if self.live == self.counted else f"{self.counted:,} ({self.live:,} live)"


EXAMPLES = {"Atari": "breakout"}  # the last word of a preset's name -> the task on which its parameters are counted


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
    quirk: str = ""  # of the paper's code. Quirks are kept here
    note: str = ""
    presets: tuple[str, ...] = ()
    error: str = ""  # why an installed package's architecture cannot be used

    @property
    def year(self) -> str:
        """The year of the paper. If there are several papers, the latest."""
        in_words = re.findall(r"\b20\d\d\b(?!\.)", self.paper)
        in_numbers = [f"20{number[:2]}" for number in re.findall(r"arXiv (\d{4})\.\d{5}", self.paper)]
        return max(in_words + in_numbers, default="")

    def text(self) -> str:
        """One paragraph. A heading that is missing is left out."""
        if self.error:
            return f"{self.arch}: {self.error}"
        counts = "; ".join(f"{preset} {count.text()}" for preset, count in parameters(self.arch).items())
        lines = {
            "year": self.year,
            "paper": self.paper,
            "tokens": self.tokens,
            "mixers": self.mixers,
            "quirks": self.quirk,
            "parameters": f"{counts} (on Hopper, and of Atari on Breakout, at the paper's default size)",
        }
        return "\n".join(
            [f"{self.arch}: {self.title}", *(f"  {key:<11}{value}" for key, value in lines.items() if value)]
        )


def summary(arch: str) -> ArchitectureSummary:
    """The summary of one architecture. Raises ValueError for an unknown one."""
    model = find_model(arch)
    text = sys.modules[model.__module__].__doc__ or ""
    first, *rest = re.split(r"^(Paper|Official|Tokens|Mixers|Differs|Quirk|Note): ", text.strip(), flags=re.MULTILINE)
    parts = zip(rest[::2], rest[1::2], strict=True)
    title = first.splitlines()[0] if first else arch
    headings = {heading.lower(): " ".join(part.split()) for heading, part in parts}
    return ArchitectureSummary(arch=arch, title=title, presets=tuple(model.presets), **headings)


def offer_summary(offer: Any) -> ArchitectureSummary:
    """The summary of an architecture that an installed package offers. Its error says why it cannot be used."""
    try:
        if offer.name in SHIPPED:
            raise ValueError("dmm has an architecture of this name, so this one is not used; give a path, or rename it")
        return summary(offer.name)
    except ValueError as error:
        said = f"{distribution(offer)} ({offer.value}): {error}"
        return ArchitectureSummary(arch=offer.name, title=said, error=said)


def parameters(arch: str) -> dict[str, ParameterCount]:
    """The number of parameters of each preset (or of the default) on Hopper, or on EXAMPLES, at the paper's default size."""
    models = {}
    for preset, overrides in (find_model(arch).presets or {arch: {}}).items():
        task = find_task(EXAMPLES.get(preset.rpartition(", ")[2], "hopper"))
        models[preset] = build_model(arch, overrides, task.spaces, 20)
    return {
        preset: ParameterCount(count_parameters(model), model.live_parameters()) for preset, model in models.items()
    }


def summaries() -> list[ArchitectureSummary]:
    """The summaries of the architectures that ship with dmm, then of those that installed packages offer."""
    return [*map(summary, list_models()), *map(offer_summary, entry_points())]
