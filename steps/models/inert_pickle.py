"""Pickles read without running anything that they name.

A pickle is a program: it names functions anywhere in Python and has them called. Here its opcodes are carried out on
plain values alone. What it names stays a name, and what it wants called becomes a record of the name and the
arguments (`Named`), unless the name is in a list of builders that the caller wrote himself.
"""

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's
KEYS = (str, int, float, bool, bytes, type(None))  # what may be a key; tuples of tuples of ... hash recursively


@dataclass(eq=False, repr=False)
class Named:
    """What a pickle names: `arguments` are those it would have been called with, None where it was not."""

    name: str
    arguments: tuple[Any, ...] | None = None
    state: Any = None  # that it would have been given after that
    items: list[Any] = field(default_factory=list)  # that would have been appended or set: values, or keys with values

    def __repr__(self) -> str:
        return f"<{self.name}>"


Builders = Mapping[str, Callable[..., Any]]


class _Done(Exception):
    """The end of a pickle."""


def read_pickle(stream: BinaryIO, builders: Builders, persistent: Callable[[Any], Any]) -> Any:
    """The value of the pickle that begins where `stream` is; the stream is left behind it.

    `builders[name](*arguments)` makes what is known; `persistent` turns an id of something kept outside of the pickle
    into a value. Raises ValueError for what is no pickle or a broken one.
    """
    machine = Machine(builders, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.do(opcode.name, argument)
    except _Done:
        return machine.result
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"not a whole pickle ({type(error).__name__}: {error})") from error
    raise ValueError("not a whole pickle: it does not end")


class Machine:
    """The stack, the marks and the memo of a pickle; each method named do_... carries out an opcode."""

    def __init__(self, builders: Builders, persistent: Callable[[Any], Any]):
        self.builders, self.persistent = builders, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # stacks under a mark
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def do(self, opcode: str, argument: Any) -> None:
        """Carries out one opcode. Raises ValueError for one that nothing here writes."""
        if opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode]())
        elif opcode in TUPLES:
            self.stack.append(tuple(self.popped(TUPLES[opcode])))
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode not in ("PROTO", "FRAME"):
            method = getattr(self, f"do_{opcode.lower()}", None)
            if method is None:
                raise ValueError(f"a pickle with {opcode}, which no checkpoint has")
            method(argument)

    def popped(self, count: int) -> list[Any]:
        """The last `count` values of the stack, taken off it."""
        if count > len(self.stack):
            raise IndexError("empty stack")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def since_mark(self) -> list[Any]:
        """All values since the last mark, and the mark, taken off."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def made(self, target: Any, arguments: Any) -> Any:
        """What calling `target` is taken for: a builder's value, or a record."""
        if not isinstance(target, Named) or not isinstance(arguments, tuple):
            raise ValueError("a pickle that calls what is no name")
        if target.arguments is None and target.name in self.builders:
            return self.builders[target.name](*arguments)
        return Named(target.name, arguments)

    def do_stop(self, _: None) -> None:
        self.result = self.stack[-1]
        raise _Done

    def do_mark(self, _: None) -> None:
        self.below.append(self.stack)
        self.stack = []

    def do_pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def do_pop_mark(self, _: None) -> None:
        self.since_mark()

    def do_dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def do_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def do_list(self, _: None) -> None:
        values = self.since_mark()
        self.stack.append(values)

    def do_tuple(self, _: None) -> None:
        values = self.since_mark()
        self.stack.append(tuple(values))

    def do_frozenset(self, _: None) -> None:
        values = self.since_mark()
        self.stack.append(keyed(values))

    def do_dict(self, _: None) -> None:
        values = self.since_mark()
        self.stack.append({})
        self.set_items(values)

    def do_append(self, _: None) -> None:
        self.extend(self.popped(1))

    def do_appends(self, _: None) -> None:
        self.extend(self.since_mark())

    def extend(self, values: list[Any]) -> None:
        """Appends to the list, or to the record's items, on top of the stack."""
        target = self.stack[-1]
        (target.items if isinstance(target, Named) else _of(target, list)).extend(values)

    def do_additems(self, _: None) -> None:
        values = self.since_mark()
        target = self.stack[-1]
        if isinstance(target, Named):
            target.items.extend(values)
        else:
            _of(target, set).update(keyed(values))

    def do_setitem(self, _: None) -> None:
        self.set_items(self.popped(2))

    def do_setitems(self, _: None) -> None:
        self.set_items(self.since_mark())

    def set_items(self, values: list[Any]) -> None:
        """Sets keys to values, which alternate, in the dict or the record's items on top of the stack."""
        if len(values) % 2:
            raise ValueError("not a whole pickle: a key without a value")
        pairs = list(zip(values[::2], values[1::2], strict=True))
        target = self.stack[-1]
        if isinstance(target, Named):
            target.items.extend(pairs)
            return
        keyed(key for key, _ in pairs)
        _of(target, dict).update(pairs)

    def do_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(Named(f"{OLD_MODULES.get(module, module)}.{name}"))

    def do_stack_global(self, _: None) -> None:
        module, name = (_of(part, str) for part in self.popped(2))
        self.do_global(f"{module} {name}")

    def do_reduce(self, _: None) -> None:
        self.stack.append(self.made(*self.popped(2)))

    do_newobj = do_reduce

    def do_newobj_ex(self, _: None) -> None:
        target, arguments, keywords = self.popped(3)
        self.stack.append(Named(target.name, (*arguments, keywords)) if keywords else self.made(target, arguments))

    def do_inst(self, argument: str) -> None:
        values = self.since_mark()
        self.do_global(argument)
        self.stack.append(self.made(self.stack.pop(), tuple(values)))

    def do_obj(self, _: None) -> None:
        target, *values = self.since_mark()
        self.stack.append(self.made(target, tuple(values)))

    def do_build(self, _: None) -> None:
        """A record keeps its state; what attributes a plain value would have is dropped."""
        (state,) = self.popped(1)
        if isinstance(self.stack[-1], Named):
            self.stack[-1].state = state

    def do_persid(self, argument: str) -> None:
        self.stack.append(self.persistent(argument))

    def do_binpersid(self, _: None) -> None:
        self.stack.append(self.persistent(*self.popped(1)))


LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def keyed(values: Iterable[Any]) -> set[Any]:
    """The values as a set. Raises ValueError for a value that is neither text nor a number nor a name."""
    values = list(values)
    for value in values:
        if type(value) not in (*KEYS, Named):
            raise ValueError(f"a pickle with a {type(value).__name__} as key, which no checkpoint has")
    return set(values)


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a pickle that takes a {type(value).__name__} for a {kind.__name__}")
    return value
