"""Command-line flags out of a settings struct: each field is one, with the field's own description as its help."""

import argparse
from collections.abc import Sequence

import msgspec


def read_flags(
    struct: type[msgspec.Struct], program: str, description: str, prefix: str, arguments: Sequence[str] | None
) -> dict[str, str]:
    """Return the flags that were given, by field name, as text; None for ``arguments`` reads the process's own.

    Wrong usage and --help end the process, as argparse does it.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=f"Each flag is also an environment variable: {prefix} and its name in capitals.",
    )
    fields = msgspec.json.schema_components([struct])[1][struct.__name__]["properties"]
    for name, schema in fields.items():
        # A switch such as --png-metadata may stand alone; "true" is never the text of another kind of flag.
        nargs = "?" if schema.get("type") == "boolean" else None
        flag = parser.add_argument(f"--{name.replace('_', '-')}", metavar=name.upper(), nargs=nargs)
        flag.help = str(schema.get("description", "")).replace("%", "%%")
        flag.const = "true" if nargs else None
    return {name: text for name, text in vars(parser.parse_args(arguments)).items() if text is not None}
