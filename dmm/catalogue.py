"""A summary of each architecture, from the docstring of its file: its sections Paper, Tokens, Mixers, Quirk ..."""

import re
import sys

from dmm.models import build_model, count_parameters, find_model, list_models
from dmm.tasks import find_task

SECTIONS = ("Paper", "Official", "Tokens", "Mixers", "Differs", "Quirk")  # every file has these; Note is optional
SHOWN = {"Paper": "paper", "Tokens": "tokens", "Mixers": "mixers", "Quirk": "quirks"}


def sections(name: str) -> dict[str, str]:
    """The sections of the docstring by their headings, each on one line. The first line has the heading "Name"."""
    text = sys.modules[find_model(name).__module__].__doc__ or ""
    first, *rest = re.split(r"^(\w+): ", text.strip(), flags=re.MULTILINE)
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    return {heading: " ".join(part.split()) for heading, part in {"Name": first.splitlines()[0], **parts}.items()}


def year(name: str) -> str:
    """The year of the paper of an architecture. If there are several, the latest."""
    found = sections(name)["Paper"]
    in_words = re.findall(r"\b20\d\d\b(?!\.)", found)
    in_numbers = [f"20{number[:2]}" for number in re.findall(r"arXiv (\d{4})\.\d{5}", found)]
    return max(in_words + in_numbers)


def parameters(name: str) -> dict[str, int]:
    """The number of parameters of each preset (or of the default) on Hopper, at the paper's default size."""
    hopper, model = find_task("hopper"), find_model(name)
    presets = model.presets or {name: {}}
    return {
        preset: count_parameters(build_model(name, overrides, hopper.state_dim, hopper.action_dim, 20))
        for preset, overrides in presets.items()
    }


def entries() -> list[str]:
    """One paragraph per architecture."""
    found = []
    for name in list_models():
        parts = sections(name)
        counts = ", ".join(f"{preset} {count:,}" for preset, count in parameters(name).items())
        lines = {label: parts[heading] for heading, label in SHOWN.items()}
        lines = {"year": year(name), **lines, "parameters": f"{counts} (on Hopper, at the paper's default size)"}
        found.append("\n".join([f"{name}: {parts['Name']}"] + [f"  {key:<11}{value}" for key, value in lines.items()]))
    return found
