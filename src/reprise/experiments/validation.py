"""From pydantic's error lists to one line that names the file, the dotted key and the nearest valid name."""

from __future__ import annotations

import types
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from reprise.errors import RepriseError, nearest, unknown

Model = TypeVar("Model", bound=BaseModel)


def build(model: type[Model], data: dict[str, Any], place: str) -> Model:
    """``model`` filled from ``data``; RepriseError for the first fault, naming ``place`` (the file) and the key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _translated(model, error, place) from error


def _translated(model: type[BaseModel], error: ValidationError, place: str) -> RepriseError:
    # A misspelt key shows up as an unknown key and as a missing one: the unknown one says more.
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    loc = [part for part in fault["loc"] if part != "[key]"]
    *parents, last = loc or [""]
    dotted = _dotted(model, loc)
    where = _dotted(model, parents)
    inside = f"{place}: {where}" if where else place
    kind = fault["type"]
    if kind == "extra_forbidden":
        return unknown("key", str(last), _fields(model, parents), inside)
    if kind == "missing":
        return RepriseError(f"{inside}: the key '{last}' is missing")
    given = fault["input"]
    if kind == "union_tag_invalid":
        given, expected = fault["ctx"]["tag"], fault["ctx"]["expected_tags"].replace("'", "").split(", ")
        return _invalid(f"{place}: {dotted}.kind", given, expected)
    if kind == "literal_error":
        expected = [part.strip(" '") for part in fault["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return _invalid(f"{place}: {dotted}", str(given), expected)
    if kind == "value_error":
        return RepriseError(f"{place}: {dotted or 'file'}: {fault['ctx']['error']}")
    words = fault["msg"][:1].lower() + fault["msg"][1:]
    shown = "" if isinstance(given, dict | list) else f", got {given!r}"
    return RepriseError(f"{place}: {dotted}: {words}{shown}")


def _invalid(where: str, given: str, expected: list[str]) -> RepriseError:
    close = nearest(given, expected)
    hint = f"nearest: '{close}'" if close else f"valid: {', '.join(expected)}"
    return RepriseError(f"{where}: '{given}' is not valid; {hint}")


def _fields(model: type[BaseModel], loc: list) -> list[str]:
    """The keys that are valid at ``loc`` inside ``model``."""
    kind = _model_of(_walk(model, loc)[0])
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _dotted(model: type[BaseModel], loc: list) -> str:
    """``loc`` as the file has it: without pydantic's tags of union members."""
    return ".".join(_walk(model, loc)[1])


def _walk(model: type[BaseModel], loc: list) -> tuple[Any, list[str]]:
    """The annotation at ``loc`` inside ``model``, and the keys that lead there."""
    kind: Any = model
    keys = []
    for part in loc:
        member = _tagged(kind, part)
        if member is not None:
            kind = member
            continue
        keys.append(str(part))
        kind = _model_of(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = get_type_hints(kind, include_extras=True).get(str(part))
        elif get_origin(kind) in (dict, list):
            kind = get_args(kind)[-1]
        # else: the location names a member of a union with scalars; the type stays
    return kind, keys


def _tagged(kind: Any, tag: Any) -> type[BaseModel] | None:
    """The member of a discriminated union whose `kind` is ``tag``; None when there is no such union."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    for member in get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ():
        if isinstance(member, type) and issubclass(member, BaseModel):
            field = member.model_fields.get("kind")
            if field is not None and tag in get_args(field.annotation):
                return member
    return None


def _model_of(kind: Any) -> Any:
    """``kind`` without Annotated and without the `| None` or scalar members of a union."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        members = [_model_of(member) for member in get_args(kind)]
        for member in members:
            if get_origin(member) in (dict, list) or (isinstance(member, type) and issubclass(member, BaseModel)):
                return member
    return kind
