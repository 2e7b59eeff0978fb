"""Load the handlers that the command line names, as `app:handlers`."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from .._common.validate import RefusedAs
from .._model.handler import is_async
from .._model.handlers import Handler, Handlers
from .._model.limits import Limit, check_shared
from .._model.schedule import Schedule
from .escape import one_line
from .faults import Fault
from .options import is_server

THE_SERVERS: Final = "-"
"""Stands for the handlers of the server, of which no code is loaded."""
_FORM = (
    "write module:attribute, as in app:handlers, where the attribute is a handler or a list of them; a "
    "module is named without .py, and with a dot behind each folder"
)


def load_handlers(address: str) -> Handlers:
    """Return the handlers, or one, at `module:attribute`; without an attribute, the module's marked ones.

    The module is looked for in the current directory too.

    Raises:
        Fault: The module or attribute does not exist, importing it failed, or it holds no handlers.
    """
    found = _attribute(address, f"{address!r} names no handlers; {_FORM}", _FORM)
    with RefusedAs(lambda why: Fault(f"{address}: {why}")):
        return Handlers([found] if is_async(found) else found)


def load_hook(option: str, address: str | None) -> Any:
    """Return what an option names as `module:attribute`; None if it was not given.

    Raises:
        Fault: It names nothing, or importing the module failed.
    """
    if address is None:
        return None
    form = f"{option} takes module:attribute, as app:{option.removeprefix('--').replace('-', '_')}"
    if ":" not in address:
        raise Fault(f"{form}; got {address!r}")
    return _attribute(address, f"{form}; got {address!r}", form)


def _attribute(address: str, misnamed: str, form: str) -> Any:
    """Return the module at an address, or its attribute. Raises `Fault`, with the form, if there is none."""
    name, colon, path = address.partition(":")
    named = all(part.isidentifier() for part in name.split(".")) and not name.endswith(".py")
    if not named or (colon and not path):
        raise Fault(misnamed)
    found: Any = _module(name)
    for part in path.split(".") if path else ():
        if not hasattr(found, part):
            raise Fault(f"module {name} has no {path!r}; {form}")
        found = getattr(found, part)
    return found


def load_handlers_for(store: str, address: str) -> Handlers:
    """Return the handlers at an address; none for `-`, which stands for those of a server.

    Raises:
        Fault: What `load_handlers` raises, or `-` stands for nothing.
    """
    if address != THE_SERVERS:
        try:
            return load_handlers(address)
        except Fault as fault:
            if is_server(store):
                raise Fault(f"{fault}; {THE_SERVERS} stands for the handlers of the server") from fault
            raise
    if not is_server(store):
        raise Fault(f"- stands for the handlers of a server: name it with --url; else {_FORM}")
    return Handlers(())


def handler_in(found: Handlers, address: str, name: str | None) -> Handler:
    """Return the handler of a name. Raises `Fault` if there is none, or no name."""
    if name is None:
        there = f"; {address} has {', '.join(found)}" if found else ""
        raise Fault(f"the name of a handler comes next, as in: {address} {next(iter(found), 'NAME')}{there}")
    if name not in found:
        raise Fault(f"{address} has no handler {name!r}; there is {', '.join(found)}")
    return found[name]


def load_schedules(address: str) -> list[Schedule]:
    """Return the list `schedules` of the module that an address names; none, if that is something else.

    Raises:
        Fault: Importing the module failed.
    """
    found: Any = getattr(_module(address.partition(":")[0]), "schedules", None)
    listed: list[Any] = [*found] if isinstance(found, list | tuple) else []
    return listed if any(isinstance(one, Schedule) for one in listed) else []


def load_limits(address: str) -> Mapping[str, Limit]:
    """Return the limits by name in `limits` of the module that an address names; none, if it has none.

    Raises:
        Fault: Importing the module failed, or its `limits` are not `Limit` records by name.
    """
    name = address.partition(":")[0]
    found: Any = getattr(_module(name), "limits", {})
    if isinstance(found, ModuleType):  # a file limits.py of the package, or next to the module
        return {}
    with RefusedAs(lambda why: Fault(f"{name}: {why}")):
        return check_shared(found)


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise Fault(
                f"there is no module {name!r}, neither in {here} nor installed; name one, as app for app.py, "
                "and run this where it is"
            ) from error
        raise Fault(_import_error(name, error)) from error
    except (Exception, SystemExit) as error:  # the program's own code, which may raise anything
        raise Fault(_import_error(name, error)) from error


def _import_error(name: str, error: BaseException) -> str:
    place = ""
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}, line {error.lineno})"
    elif frames := traceback.extract_tb(error.__traceback__):
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})"
    what = error.msg if isinstance(error, SyntaxError) else str(error)
    return one_line(f"importing {name} failed: {type(error).__name__}: {what}{place}")
