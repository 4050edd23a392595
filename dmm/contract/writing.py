"""Writes the file of a new model: the text of template.py under another name."""

import importlib.util
import keyword
import sys
from importlib.resources import files
from pathlib import Path

from dmm.architectures import list_models


def write_model(name: str, folder: Path) -> Path:
    """Writes a working model to `folder`/`name`.py and returns the path.

    Raises ValueError for a name that Python or dmm cannot use, for a folder that is absent, and for a file that exists.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or keyword.issoftkeyword(name) or name.startswith("__"):
        raise ValueError(
            f"a model cannot be called {name!r}; the name is that of a Python file: letters, digits and _, and no digit first"
        )
    if name in list_models():
        raise ValueError(f"{name!r} is an architecture of dmm; give yours another name")
    if is_installed(name):
        raise ValueError(
            f"{name!r} is a module of Python or of an installed package, which a file {name}.py would hide; give the model "
            "another name"
        )
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    path = folder / f"{name}.py"
    text = files("dmm.contract").joinpath("template.py").read_text()
    try:
        with path.open("x") as file:
            file.write(text.replace("TemplatePolicy", class_name(name)))
    except FileExistsError:
        raise ValueError(f"{path} exists; nothing was written") from None
    return path


def is_installed(name: str) -> bool:
    """Whether Python or an installed package has a module of this name. Files of the current folder do not count."""
    if name == "dmm" or name in sys.stdlib_module_names:
        return True
    spec = importlib.util.find_spec(name)
    origin = spec.origin if spec else None
    return origin is not None and Path.cwd() not in list(Path(origin).resolve().parents)[:2]


def class_name(name: str) -> str:
    """The class of a file: of gated_gru it is GatedGruPolicy."""
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return f"{camel}Policy" if camel.isidentifier() else f"Model{camel}Policy"
