"""Finds architectures: by name, by the path of a file, by class, or among those that installed packages offer.

`find_model("metamamba")` imports dmm/models/metamamba.py and returns its one DecisionModel. A new architecture is one new file,
here or anywhere else. `resolve("./gru.py")` reads such a file, and the class is made from its text in every process.
"""

import dataclasses
import functools
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from dmm import models
from dmm.base.errors import unknown_name
from dmm.base.fields import check_value, described, field_types, shown
from dmm.base.source_code import SourceCode, dotted, only_text
from dmm.batch import Spaces
from dmm.models import DecisionModel
from dmm.schema import ModelSource

SHIPPED = frozenset(module.name for module in pkgutil.iter_modules(models.__path__))
MADE: dict[type, ModelSource] = {}  # classes that were made from carried source code
table_file: ContextVar[Path | None] = ContextVar("table_file", default=None)  # the table's file that is being read


def list_models() -> list[str]:
    """Names of the architectures that ship with dmm."""
    return sorted(SHIPPED)


@functools.cache
def entry_points() -> tuple[Any, ...]:
    """The architectures that installed packages offer, by name. They are looked up once a process.

    Each is an EntryPoint of importlib.metadata, or of its backport once MLflow has imported that.
    """
    return tuple(sorted(metadata.entry_points(group="dmm.models"), key=lambda offer: (offer.name, distribution(offer))))


def resolve(arch: Any, folder: Path | None = None) -> tuple[str, ModelSource | None]:
    """The name of an architecture, and its source. The source of a shipped one is None.

    `arch` is a name, the path of a file, or a class. A string is a path if it has a slash or ends with .py. A path is
    relative to `folder`. The default is the folder of the table's file that is being read, or else the current folder. A
    name is that of a shipped architecture, or of one that an installed package offers as an entry point of the group
    dmm.models. A shipped name always is the shipped one.
    Raises ValueError for an unknown name, a name that is offered twice, a file that is absent or does not have exactly one
    model, and a class that is no DecisionModel or does not come from a file.
    """
    if isinstance(arch, type):
        return resolve_class(arch)
    if isinstance(arch, Path) or (isinstance(arch, str) and ("/" in arch or arch.endswith(".py"))):
        table = table_file.get()
        return resolve_file((folder or (table.parent if table else Path())) / Path(arch).expanduser())
    if isinstance(arch, str):
        return resolve_name(arch)
    raise ValueError(f"an architecture is a name, the path of a file, or a class; it is {shown(arch)}")


def resolve_name(name: str) -> tuple[str, ModelSource | None]:
    """`resolve` for a name."""
    if name in SHIPPED:
        return name, None
    offers = [offer for offer in entry_points() if offer.name == name]
    if not offers:
        raise unknown_name("architecture", name, {*SHIPPED, *(offer.name for offer in entry_points())})
    if len(offers) > 1:
        said = " and by ".join(f"{distribution(offer)} ({offer.value})" for offer in offers)
        raise ValueError(f"architecture {name!r} is offered by {said}; give a file's path instead")
    (offer,) = offers
    if not (path := installed_file(offer.module)):
        raise ValueError(
            f"{distribution(offer)} offers architecture {name!r} in {offer.value}, and there is no Python file of this module"
        )
    code = SourceCode.read(path, only_package=True)
    return made(ModelSource(name, offer.attr or only_model(code), code, distribution(offer)))


def installed_file(module: str) -> Path | None:
    """The file of an installed module, found without importing it. None if there is none."""
    top, *parts = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.submodule_search_locations is None:
        return Path(spec.origin) if spec and spec.origin and spec.has_location and not parts else None
    places = [Path(place).joinpath(*parts) for place in spec.submodule_search_locations]
    files = (file for place in places for file in (place / "__init__.py", place.with_suffix(".py")))
    return next((file for file in files if file.is_file()), None)


def distribution(offer: Any) -> str:
    """The name and version of the installed package that has an entry point."""
    return f"{offer.dist.name} {offer.dist.version}" if offer.dist else "a package without a name"


def resolve_file(path: Path) -> tuple[str, ModelSource | None]:
    """`resolve` for the path of a file."""
    if path.resolve().parent == Path(models.__path__[0]).resolve() and path.stem in SHIPPED:
        return path.stem, None
    refuse_table(path, f"the model of {path}")
    code = SourceCode.read(path)
    return made(ModelSource(architecture_name(code), only_model(code), code))


def architecture_name(code: SourceCode) -> str:
    """The name of the file, or of its folder if the file is an `__init__.py`."""
    return dotted(code.path).split(".")[-1]


def only_model(code: SourceCode) -> str:
    """The name of the one model of a module. Raises ValueError if there is none, or more than one."""
    found = [kind.__name__ for kind in models_of(code.load())]
    if not found:
        raise ValueError(f"{code.path} has no model, a class whose base is dmm.models.DecisionModel")
    if len(found) > 1:
        raise ValueError(f"{code.path} has the models {' and '.join(found)}; a file has one, or give the class itself")
    return found[0]


def models_of(module: ModuleType) -> list[type[DecisionModel]]:
    """The models that a module defines, each once. Abstract classes count if there is no other."""
    found = [
        value
        for value in dict.fromkeys(value for value in vars(module).values() if isinstance(value, type))
        if issubclass(value, DecisionModel) and value.__module__ == module.__name__
    ]
    return [kind for kind in found if not inspect.isabstract(kind)] or found


def resolve_class(kind: type) -> tuple[str, ModelSource | None]:
    """`resolve` for a class. The class itself is not used: its file is read, and every process makes it from the text."""
    name, module = kind.__qualname__, kind.__module__
    if not issubclass(kind, DecisionModel):
        raise ValueError(f"{name} is no DecisionModel; an architecture is a subclass of dmm.models.DecisionModel")
    if kind in MADE:
        return MADE[kind].name, MADE[kind]
    if module.startswith("dmm.models."):
        return module.split(".")[-1], None
    path = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__" or not path:
        raise ValueError(f"{name} is defined in a notebook or a script, so no other process could make it; put it in a "
                         "file of its own")  # fmt: skip
    refuse_table(Path(path), name)
    code = SourceCode.read(Path(path))
    return made(ModelSource(architecture_name(code), name, code))


def made(source: ModelSource) -> tuple[str, ModelSource]:
    """The name of an architecture and its source, once its class is made here. Raises ValueError if it cannot be made."""
    find_model(source)
    return source.name, source


def refuse_table(path: Path, model: str) -> None:
    """Raises ValueError if a model's file is that of the table that is being read."""
    table = table_file.get()
    if table and table.resolve() == path.resolve():
        raise ValueError(f"{model} is defined in the table's own file, so an edit of the table would change the model; "
                         "put it in a file of its own")  # fmt: skip


@functools.cache
def find_model(arch: str | ModelSource) -> type[DecisionModel]:
    """Returns the class of an architecture, by its name or its source. It is made once per process.

    Raises ValueError for an unknown name, and for source code that cannot be run here or has no such model.
    """
    source = resolve_name(arch)[1] if isinstance(arch, str) else arch
    if source is None:
        (found,) = models_of(importlib.import_module(f"dmm.models.{arch}"))
        return found
    known = {kind.__name__: kind for kind in models_of(source.code.load())}
    if source.class_name not in known:
        raise unknown_name("model", source.class_name, known, source.code.path)
    found = known[source.class_name]
    if missing := sorted(found.__abstractmethods__):
        raise ValueError(f"{source.class_name} of {source.code.path} does not define {', '.join(missing)}")
    MADE[found] = source
    return found


def make_config(arch: str | ModelSource, overrides: Mapping[str, object]):
    """Returns the Config of an architecture with some fields changed.

    Raises ValueError for a wrong field, type or value. Defaults are checked too, and so are the types of the fields.
    """
    config, name = find_model(arch).Config, arch if isinstance(arch, str) else arch.name
    types = field_types(config)
    for key in overrides:
        if key not in types:
            raise unknown_name(f"field of {name}", key, types, "its Config")
    values = dict(overrides)
    for entry in dataclasses.fields(config):
        expected = types[entry.name]
        if not is_plain(expected):
            raise ValueError(
                f"{name}.{entry.name} is declared as {described(expected)}; a field of a Config is an int, float, bool, str, "
                "None or Literal, or a tuple, mapping or union of these"
            )
        if entry.default is not dataclasses.MISSING:
            values.setdefault(entry.name, entry.default)
        elif entry.default_factory is not dataclasses.MISSING:
            values.setdefault(entry.name, entry.default_factory())
        if entry.name not in values:
            raise ValueError(f"{name}.{entry.name} has no default, and no value was given")
        values[entry.name] = check_value(f"{name}.{entry.name}", values[entry.name], expected)
    return config(**{key: values[key] for key in overrides})


def is_plain(expected: Any) -> bool:
    """Whether the values of a type are plain JSON, so that they can be part of an id."""
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Literal:
        return all(is_plain(type(value)) for value in arguments)
    if origin in (tuple, Mapping, Union, UnionType):
        return all(value is Ellipsis or is_plain(value) for value in arguments)
    return expected in (int, float, bool, str, type(None))


def build_model(
    arch: str | ModelSource, overrides: Mapping[str, object], spaces: Spaces, context_length: int
) -> DecisionModel:
    """Builds an architecture with new weights, drawn from torch's global generator.

    Raises ValueError like `make_config`, and for a model that opens a file beside its own, because it is not carried.
    """
    config = make_config(arch, overrides)
    try:
        return find_model(arch)(config, spaces, context_length)
    except OSError as error:
        if hint := only_text(error):
            name = arch if isinstance(arch, str) else arch.name
            raise ValueError(f"{name} cannot be built: {error}{hint}") from error
        raise
