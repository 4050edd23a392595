"""SourceCode: the text of a module and of the local files that it imports, carried from process to process.

A process that has never seen the files makes the module from the text, once. Nothing is written to disk.
"""

import ast
import builtins
import functools
import hashlib
import importlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path, PurePosixPath
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import url2pathname

PREFIX = "dmm_source_"  # of the package of a carried module. The start of its sha256 follows
INSTALLED = ("site-packages", "dist-packages")  # names of the folders of installed packages


@dataclass(frozen=True)
class SourceCode:
    """A module and the local files that it imports, as text.

    Paths begin at the first folder upwards that has no `__init__.py`. Raises ValueError if a path is not that of a module.
    """

    path: str  # of the module
    files: tuple[tuple[str, str], ...]  # path -> text, sorted

    def __post_init__(self) -> None:
        for path, _ in self.files:
            parts = path.removesuffix(".py").split("/")
            if not path.endswith(".py") or not all(part.isidentifier() for part in parts):
                raise ValueError(
                    f"{path!r} cannot be carried to other processes; a file, and the folders of its package, have names of "
                    "letters, digits and _"
                )
        if self.path not in dict(self.files):
            raise ValueError(f"source code of {self.path!r} holds no such file")

    @staticmethod
    def read(path: Path, *, only_package: bool = False) -> "SourceCode":
        """Reads a file and the local files that it imports, also inside functions. The imports are found in the text.

        Local files are those in the folder where the paths begin, and in the folders below it. With `only_package`, and for
        an installed package, only the module's own package is local. Imports through importlib are not seen.
        Raises ValueError if a file is absent or is not Python, and if it imports a file that is neither local nor installed.
        Such a file would be absent in other processes, and an edit of it would move no id.
        """
        if not path.is_file():
            meant = f" Did you mean {path.name}.py?" if Path(f"{path}.py").is_file() else ""
            meant = meant or (" It is a folder." if path.is_dir() else "")
            raise ValueError(f"there is no file {path}.{meant}")
        path = path.resolve()
        root = path.parent
        while (root / "__init__.py").is_file():
            root = root.parent
        main = path.relative_to(root)
        own = main.parts[0].removesuffix(".py") if only_package or root.name in INSTALLED else None
        found: dict[str, str] = {}
        waiting = [main, *local_files(root, dotted(main.as_posix()))]
        while waiting:
            file = waiting.pop()
            name = file.as_posix()
            if name in found:
                continue
            try:
                found[name] = importlib.util.decode_source((root / file).read_bytes())
                tree = ast.parse(found[name])
            except (SyntaxError, ValueError, OSError) as error:
                raise ValueError(f"{root / file} is no Python: {error}") from error
            for module, imported in imports(tree, package_of(name)):
                top = module.split(".")[0]
                if top == "dmm" or top in sys.stdlib_module_names:
                    continue
                whole = f"{module}.{imported}" if imported else module
                local = list(local_files(root, whole)) if own in (None, top) else []
                waiting += local
                if not local and (stray := file_on_path(whole)) and not is_installed(top, stray):
                    raise ValueError(
                        f"{root / file} imports {module} from {stray}, which is neither beside the model nor installed, so "
                        f"it would not be carried with the model; put it into {root}, or install it"
                    )
        return SourceCode(main.as_posix(), tuple(sorted(found.items())))

    @cached_property
    def sha256(self) -> str:
        """The sha256 of all names and texts."""
        return hashlib.sha256(json.dumps([self.path, self.files]).encode()).hexdigest()

    @cached_property
    def package(self) -> str:
        """The package in which the files lie as modules of this process."""
        return PREFIX + self.sha256[:16]

    @cached_property
    def modules(self) -> Mapping[str, str]:
        """The path of each module by its dotted name. A package without `__init__.py` has the path ""."""
        names = {
            dotted(path): path for path, _ in sorted(self.files, key=lambda file: file[0].endswith("/__init__.py"))
        }
        folders = {".".join(name.split(".")[:end]): "" for name in names for end in range(name.count(".") + 1)}
        return folders | names | {dotted(self.path): self.path}

    def load(self) -> ModuleType:
        """The module, made at the first call of a process. Raises ValueError, with file and line, if it cannot be made."""
        FINDER.sources[self.package] = self
        if FINDER not in sys.meta_path:
            sys.meta_path.append(FINDER)
        try:
            return importlib.import_module(f"{self.package}.{dotted(self.path)}")
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            lines = [
                f"{frame.filename.split('/', 1)[1]}, line {frame.lineno}"
                for frame in traceback.extract_tb(error.__traceback__)
                if frame.filename.startswith(f"{self.package}/")
            ]
            where = lines[-1] if lines else self.path
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(f"{where} was interrupted") from error
            raise ValueError(f"{where} cannot be run: {type(error).__name__}: {error}{only_text(error)}") from error


class CarriedFinder(MetaPathFinder, InspectLoader):
    """Finds and makes the modules of carried source code. Their names begin with the package of their SourceCode."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceCode] = {}  # by package

    def file(self, name: str) -> tuple[SourceCode, str] | None:
        """The source code of a module and the path of its file. None if nothing carried has this name."""
        package, _, module = name.partition(".")
        source = self.sources.get(package)
        if source is None or module not in source.modules:
            return None
        return source, source.modules[module]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a carried module."""
        found = self.file(fullname)
        if found is None:
            return None
        source, file = found
        spec = ModuleSpec(fullname, self, origin=f"{source.package}/{file}", is_package=self.is_package(fullname))
        spec.has_location = bool(file)
        return spec

    def is_package(self, fullname: str) -> bool:
        """Whether a carried module is a package."""
        found = self.file(fullname)
        return found is not None and (not found[1] or found[1].endswith("__init__.py"))

    def get_source(self, fullname: str) -> str:
        """The text of a carried module. Tracebacks and `inspect` show its lines."""
        found = self.file(fullname)
        return dict(found[0].files).get(found[1], "") if found else ""

    def get_code(self, fullname: str):
        """The compiled text of a carried module."""
        spec = self.find_spec(fullname)
        return spec and compile(self.get_source(fullname), spec.origin or fullname, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Runs a new module. Its imports of carried files, also later in functions, give the carried modules."""
        source = self.sources[module.__name__.split(".")[0]]
        own = functools.partial(import_carried, source)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": own}
        super().exec_module(module)


FINDER = CarriedFinder()


def import_carried(
    source: SourceCode,
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """`__import__` of a carried module: absolute names of carried files are found in their package."""
    if level or name not in source.modules:
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    found = builtins.__import__(f"{source.package}.{name}", globals, locals, fromlist or (), 0)
    return found if fromlist else sys.modules[f"{source.package}.{name.split('.')[0]}"]  # `import a.b` binds a


def imports(tree: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """The imports of a syntax tree, in functions too, as (module, name). The name is "" for `import module`.

    Relative imports are resolved in `package`. Imports only for type checkers are left out.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".") if package else []
            above = parents[: max(len(parents) - node.level + 1, 0)] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module or alias.name, alias.name if module else "") for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in (
            getattr(node.test, "id", ""),
            getattr(node.test, "attr", ""),
        ):
            yield from imports(ast.Module(node.orelse, []), package)
        elif not isinstance(node, ast.expr):
            yield from imports(node, package)


def local_files(root: Path, module: str) -> Iterator[Path]:
    """The files below a folder that Python runs to import a dotted name. If the last part is no module, it is left out."""
    place = PurePosixPath()
    for part in module.split("."):
        place /= part
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if (root / file).is_file():
                yield Path(file)
                break


def file_on_path(module: str) -> Path | None:
    """The file that Python would run to import a dotted name from sys.path. None if there is none."""
    spec = PathFinder.find_spec(module.split(".")[0])
    if spec is None or spec.origin:
        return Path(spec.origin).resolve() if spec and spec.origin else None
    folders = [Path(place).resolve().parent for place in spec.submodule_search_locations or ()]  # no __init__.py
    return next((folder / file for folder in folders for file in local_files(folder, module)), None)


def is_installed(top: str, file: Path) -> bool:
    """Whether a file of a top-level module belongs to an installed distribution. Editable ones count."""
    if not set(INSTALLED).isdisjoint(file.parts):
        return True
    offers, places = set(metadata.packages_distributions().get(top, ())), []
    for found in metadata.distributions():
        url = json.loads(found.read_text("direct_url.json") or "{}")
        editable = url.get("dir_info", {}).get("editable", False)
        if found.metadata["Name"] in offers:
            places += [Path(str(found.locate_file("")))]
            places += [Path(url2pathname(urlsplit(url["url"]).path))] if editable else []
        if editable:  # a .pth file names the folder of its modules
            texts = [entry.read_text() for entry in found.files or () if entry.suffix == ".pth"]
            places += [Path(line) for text in texts for line in text.splitlines() if Path(line).is_absolute()]
    return any(file.is_relative_to(place.resolve()) for place in places)


def only_text(error: BaseException) -> str:
    """A hint for an error about a file beside a carried module, which is not there. "" for other errors."""
    about_carried = isinstance(error, OSError) and PREFIX in str(error.filename)
    return ". Only Python text is carried with a model, so it cannot open a file beside it" if about_carried else ""


def dotted(path: str) -> str:
    """The name of the module in a file: a/b.py is a.b, and a/__init__.py is a."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def package_of(path: str) -> str:
    """The package of the module in a file."""
    return ".".join(PurePosixPath(path).parts[:-1])
