"""Structs as a structural schema of Kubernetes: OpenAPI v3 with everything inline.

It is made from msgspec's description of the types, not from its JSON schema, whose `$ref` and `anyOf` Kubernetes does
not allow. A field that may be None is one that may be left out: Kubernetes drops a null before it looks further.

Everything has a bound, since the API server estimates the cost of each rule from the bounds. A pattern becomes a rule
of its own, because a rule has a message for people.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import inspect

from imagegen_contract.validation import meaning_of

Json = dict[str, Any]
Rules = Mapping[type[msgspec.Struct], Sequence[Json]]
"""The rules between fields (`x-kubernetes-validations`) of each struct."""

_EMPTY: tuple[object, ...] = (None, "", (), {}, msgspec.NODEFAULT)
_INT32_MAX = 2**31 - 1
_VALIDATIONS = "x-kubernetes-validations"


class UnboundedError(TypeError):
    """A type does not say how long its values may be."""


def structural_schema(struct: type[msgspec.Struct], rules: Rules, *, filled: bool) -> Json:
    """Return the schema of ``struct``. With ``filled`` it has the defaults that the API server fills in.

    These are the defaults of what is always there. The fields of an optional object get none: beside an existing claim
    `reclaimPolicy: Delete` would frighten, though it is about a claim to create. Nor does what is empty, since left
    out says the same. Raises UnboundedError for text, a list or a map without a limit.
    """
    return _Converter(rules).of(inspect.type_info(struct), filled=filled)


class _Converter:
    """Walks the types with the rules at hand."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def of(self, kind: inspect.Type, *, filled: bool = False) -> Json:
        """Return the schema of any type."""
        match kind:
            case inspect.Metadata():
                return _described(self.of(kind.type, filled=filled), kind)
            case inspect.UnionType():
                return self._union([option for option in kind.types if not isinstance(option, inspect.NoneType)])
            case inspect.StructType():
                return self._struct(kind, filled=filled)
            case inspect.VarTupleType():
                return {"type": "array", "maxItems": _bound(kind), "items": self.of(kind.item_type)}
            case inspect.DictType():
                return self._map(kind)
            case _:
                return _scalar(kind)

    def _union(self, options: list[inspect.Type]) -> Json:
        if len(options) == 1:
            return self.of(options[0])
        # The only other union there is: a quantity, which is a number or text.
        parts = [self.of(option) for option in options]
        merged = {key: value for part in parts for key, value in part.items() if key not in {"type", "format"}}
        of_text = [{**rule, "rule": f"type(self) == int || {rule['rule']}"} for rule in merged[_VALIDATIONS]]
        return {**merged, "x-kubernetes-int-or-string": True, _VALIDATIONS: of_text}

    def _struct(self, kind: inspect.StructType, *, filled: bool) -> Json:
        fields = {field.encode_name: self._field(field, filled=filled) for field in kind.fields}
        required = [field.encode_name for field in kind.fields if field.required]
        rules = list(self._rules.get(kind.cls, ()))
        return {
            "type": "object",
            **({"required": required} if required else {}),
            "properties": fields,
            **({_VALIDATIONS: rules} if rules else {}),
        }

    def _field(self, field: inspect.Field, *, filled: bool) -> Json:
        default = cast("object", field.default)
        if isinstance(default, msgspec.Struct):
            schema = self.of(field.type, filled=filled)
            inner = cast("dict[str, Json]", schema["properties"])
            # In full, because the API server tries the rules on it as it stands.
            defaults = {name: each["default"] for name, each in inner.items() if "default" in each}
            return schema | ({"default": defaults} if defaults else {})
        schema = self.of(field.type)
        if default in _EMPTY:
            return schema
        told = f"{schema['description']}. Default: {_as_json(default)}"
        return {**schema, "description": told, **({"default": default} if filled else {})}

    def _map(self, kind: inspect.DictType) -> Json:
        if isinstance(kind.key_type, inspect.LiteralType):
            named = {str(key): self.of(kind.value_type) for key in kind.key_type.values}
            return {"type": "object", "properties": named}
        if isinstance(kind.value_type, inspect.AnyType):
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        values = {"maxProperties": _bound(kind), "additionalProperties": self.of(kind.value_type)}
        return {"type": "object", **values, _VALIDATIONS: [_key_rule(kind.key_type)]}


def _scalar(kind: inspect.Type) -> Json:
    match kind:
        case inspect.StrType():
            least = {"minLength": kind.min_length} if kind.min_length else {}
            rules = {_VALIDATIONS: [{"rule": f"self.{_matches(kind)}"}]} if kind.pattern else {}
            return {"type": "string", **least, "maxLength": _bound(kind), **rules}
        case inspect.LiteralType():
            return {"type": "string", "enum": list(kind.values)}
        case inspect.IntType():
            width = "int32" if kind.le is not None and kind.le <= _INT32_MAX else "int64"
            return {"type": "integer", "format": width, **_range(kind)}
        case inspect.FloatType():
            return {"type": "number", "format": "double", **_range(kind)}
        case inspect.BoolType():
            return {"type": "boolean"}
        case _:
            raise TypeError(f"{kind} has no structural schema yet")


def _range(kind: inspect.IntType | inspect.FloatType) -> Json:
    limits = {"minimum": kind.ge, "maximum": kind.le}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _bound(kind: inspect.StrType | inspect.VarTupleType | inspect.DictType) -> int:
    if kind.max_length is None:
        raise UnboundedError(f"{kind} needs a max_length")
    return kind.max_length


def _described(schema: Json, kind: inspect.Metadata) -> Json:
    """Return ``schema`` with what the type's metadata says: of the innermost, the words for its pattern."""
    extra = cast("Json", kind.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType] - untyped in msgspec
    allowed = _allowed(kind)
    told = ". ".join(filter(None, (extra.get("description"), schema.get("description") or allowed)))
    rules = [{"message": allowed, **rule} for rule in schema.get(_VALIDATIONS, ())] if allowed else None
    return {**schema, **extra, "description": told, **({_VALIDATIONS: rules} if rules else {})}


def _allowed(kind: inspect.Type) -> str:
    words = meaning_of(kind)
    return f"Allowed: {words}" if words else ""


def _key_rule(key: inspect.Type) -> Json:
    """Return the rule of a map for its keys, since a schema cannot speak of keys."""
    text = key.type if isinstance(key, inspect.Metadata) else key
    if not isinstance(text, inspect.StrType) or not text.pattern:
        raise UnboundedError(f"the keys {key} need a pattern")
    rule = f"self.all(key, key.size() <= {_bound(text)} && key.{_matches(text)})"
    return {"rule": rule, "message": _allowed(key).replace("Allowed:", "Allowed keys:")}


def _matches(kind: inspect.StrType) -> str:
    r"""Return a pattern in CEL. ``\Z`` of Python, the very end, is ``$`` in RE2; Python's ``$`` is something else."""
    pattern = kind.pattern or ""
    if not pattern.endswith(r"\Z") or "'" in pattern:
        raise ValueError(rf"the pattern {pattern} must end with \Z and hold no quotation mark")
    return f"matches(r'{pattern.removesuffix(chr(92) + 'Z')}$')"


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode().strip('"')
