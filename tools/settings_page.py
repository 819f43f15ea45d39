"""docs/settings.md: every setting of server, router and operator, made from their structs."""

import msgspec
from msgspec import inspect

from imagegen_contract import server_settings
from imagegen_contract.server_settings import ServerSettings
from imagegen_contract.validation import field_types, type_options
from imagegen_operator import settings as operator_settings
from imagegen_operator.settings import OperatorSettings
from imagegen_router import settings as router_settings
from imagegen_router.settings import RouterSettings

_INTRODUCTION = """\
# Settings

Made by `python tools/generate.py` from `contract/imagegen_contract/server_settings.py`,
`router/imagegen_router/settings.py` and `operator/imagegen_operator/settings.py`; edit them there.

Each setting is an environment variable and a flag of its program; a flag wins over the variable. A list is written
with commas, a switch as `true` or `false`. A wrong value or a misspelt name stops the program at its start with a
message that says what is allowed. Only in a pod, where `IMAGEGEN_SERVER_MODEL` is set, a server warns about a name that
it does not know and goes on: it may have been started by a newer operator.
"""

_TABLE = """
## {title}

| variable | flag of `{program}` | values | default | what it does |
|---|---|---|---|---|
"""

_VALUES: dict[type[inspect.Type], str] = {
    inspect.BoolType: "`true`, `false`",
    inspect.NoneType: "",
    inspect.StrType: "text",
    inspect.StructType: "JSON",
    inspect.VarTupleType: "list",
}


def settings_page() -> str:
    """Return the tables of all settings."""
    programs = (
        ("The server", "imagegen-server", ServerSettings, server_settings.ENVIRONMENT_PREFIX),
        ("The router", "imagegen-router", RouterSettings, router_settings.ENVIRONMENT_PREFIX),
        ("The operator", "imagegen-operator", OperatorSettings, operator_settings.ENVIRONMENT_PREFIX),
    )
    tables = (
        _TABLE.format(title=title, program=program) + _table(struct, prefix)
        for title, program, struct, prefix in programs
    )
    return _INTRODUCTION + "".join(tables)


def _table(struct: type[msgspec.Struct], prefix: str) -> str:
    types = field_types(struct)
    return "".join(_row(field, types[field.encode_name], prefix) for field in msgspec.structs.fields(struct))


def _row(field: msgspec.structs.FieldInfo, kind: inspect.Type, prefix: str) -> str:
    flag = field.name.replace("_", "-")
    cells = (
        f"`{prefix}{field.name.upper()}`",
        f"`--{flag}`",
        " or ".join(filter(None, map(_values, type_options(kind)))),
        _default(field.default),
        _description(kind).replace("|", "\\|"),
    )
    return f"| {' | '.join(cells)} |\n"


def _values(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{value}`" if value else "empty" for value in kind.values)
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return _range(kind)
    return _VALUES[type(kind)]


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    noun = "integer" if isinstance(kind, inspect.IntType) else "number"
    least = f"above {kind.gt:g}" if kind.gt is not None else f"from {kind.ge}"
    return f"{noun} {least} to {kind.le}"


def _default(value: object) -> str:
    if value in (None, (), ""):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _description(kind: inspect.Type) -> str:
    extra: dict[str, str] = getattr(kind, "extra_json_schema", None) or {}
    return extra["description"]
