"""Reads a pickle of whole numbers in lists and NumPy arrays, without calling anything that the pickle names.

A pickle is a program. Python's reader calls the functions that it names with the arguments that it gives, and even
NumPy's own functions crash if the arguments are chosen for that. This reader knows the few operations that lists,
tuples, numbers and texts need. An array becomes a `PickledArray`, which only records the state of the array, and
`PickledArray.numbers` checks that state before it reads any bytes. Every other operation and every other name is
refused. The memory is bounded by the size of the pickle and by `MAX_STEPS`.
"""

import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

MAX_STEPS = 2_000_000
"""Largest number of operations, without those of the runs below; 25,000 reviews need about 200,000."""

_RUN = re.compile(rb"\((?:K.|M..|J....){1,1000}e", re.DOTALL)
"""The operations that append up to 1,000 whole numbers to a list; pickles contain longer lists in such parts."""

_CODES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}


class PickleError(ValueError):
    """The pickle contains something else than lists and arrays of whole numbers."""


@dataclass(frozen=True)
class _Name:
    """A name in the pickle; it stands for a function of NumPy and is never called."""

    text: str


_RECONSTRUCT, _ARRAY, _DTYPE = _Name("_reconstruct"), _Name("ndarray"), _Name("dtype")
_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _DTYPE,
}


@dataclass(eq=False)
class _Dtype:
    """The type of an array's values: its code, and the rest of its state."""

    code: object
    state: Any = None

    @property
    def order(self) -> object:
        """The byte order, `<`, `>` or `|`; None if the state is that of a structured type."""
        state = self.state
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            return None
        return state[1]


@dataclass(eq=False)
class PickledArray:
    """An array whose state was recorded, not interpreted: version, shape, dtype, order of the axes, content."""

    state: Any = None

    def _content(self) -> tuple[int, _Dtype, Any]:
        state = self.state
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleError("an array without content")
        _, shape, dtype, _, content = state
        if not isinstance(shape, tuple) or len(shape) != 1 or type(shape[0]) is not int or shape[0] < 0:
            raise PickleError("not a 1-d array")
        if not isinstance(dtype, _Dtype):
            raise PickleError("an array without a type")
        return shape[0], dtype, content

    def items(self) -> list[Any]:
        """Returns the items of an array of objects.

        Raises:
            PickleError: if it is not a 1-d array of objects.
        """
        length, dtype, content = self._content()
        if dtype.code not in ("O", "O4", "O8") or not isinstance(content, list):
            raise PickleError("not an array of objects")
        if any(isinstance(part, np.ndarray) for part in content):
            raise PickleError("contains a number, expected lists of whole numbers")
        if len(content) != length:
            raise PickleError(f"an array of {length} items with {len(content)}")
        return content

    def numbers(self) -> Numbers:
        """Returns the values of an array of whole numbers.

        Raises:
            PickleError: if it is another array, or its bytes do not have the length that its shape needs.
        """
        length, dtype, content = self._content()
        if not isinstance(dtype.code, str) or dtype.code not in _CODES or dtype.order not in ("<", ">", "|"):
            raise PickleError("not an array of whole numbers")
        if not isinstance(content, bytes) or len(content) != length * int(dtype.code[1:]):
            raise PickleError("an array whose bytes do not have the length of its shape")
        values: NDArray[Any] = np.frombuffer(content, np.dtype(f"{dtype.order}{dtype.code}".replace("|", "=")))
        if values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise PickleError("a number above 2**63")
        return values.astype(np.int64)


def numbers(item: Any) -> Numbers:
    """Returns one item of an array of objects, which must be a list or an array of whole numbers, as an array.

    Raises:
        PickleError: if it is something else.
    """
    if isinstance(item, PickledArray):
        return item.numbers()
    if not isinstance(item, list):
        raise PickleError("not a list of whole numbers")
    if len(item) == 1 and isinstance(item[0], np.ndarray):
        return item[0]
    if not all(type(part) is int or isinstance(part, np.ndarray) for part in item):
        raise PickleError("not a list of whole numbers")
    parts = [part if isinstance(part, np.ndarray) else _one(part) for part in item]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def size(item: Any) -> int:
    """Returns the number of values of an item, before they are copied; the same list can be contained many times."""
    if isinstance(item, PickledArray):
        return len(item.state[4]) if isinstance(item.state, tuple) and isinstance(item.state[-1], bytes) else 0
    return sum(len(part) if isinstance(part, np.ndarray) else 1 for part in item) if isinstance(item, list) else 1


def _one(value: int) -> Numbers:
    if not 0 <= value <= np.iinfo(np.int64).max:
        raise PickleError("a number outside 0 to 2**63")
    return np.array([value], np.int64)


def load(data: bytes, start: int = 0) -> Any:
    """Returns the value of a pickle.

    Args:
        data: contains the pickle.
        start: where it begins.

    Returns:
        The value. A list contains a run of whole numbers as one int64 array; `numbers` reads such lists.

    Raises:
        PickleError: if it contains another operation or name, or is damaged.
    """
    machine = _Machine(data, start)
    try:
        return machine.run()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise PickleError("damaged or truncated") from None


@dataclass(eq=False)
class _Machine:
    """The stack machine of a pickle, with the few operations that numbers, lists and tuples need."""

    data: bytes
    position: int
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self) -> Any:
        data, stack = self.data, self.stack
        for _ in range(MAX_STEPS):
            code = data[self.position]
            if code == 0x28 and (match := _RUN.match(data, self.position)) and type(stack[-1]) is list:
                # The pattern contains nothing but whole numbers, so this small pickle can only become a list of them.
                stack[-1].append(np.array(pickle.loads(match.group()[:-1] + b"l."), np.int64))
                self.position = match.end()
                continue
            self.position += 1
            if code == 0x2E:  # STOP
                if len(stack) != 1 or self.marks:
                    raise PickleError("damaged or truncated")
                return stack[0]
            operation = _OPERATIONS.get(code)
            if operation is None:
                known = [known.name for known in pickletools.opcodes if known.code == chr(code)]
                raise PickleError(f"the pickle contains the operation {known[0] if known else hex(code)}")
            operation(self)
        raise PickleError(f"the pickle has more than {MAX_STEPS:,} operations")

    def take(self, length: int) -> bytes:
        """Returns the next bytes of the pickle."""
        end = self.position + length
        if length < 0 or end > len(self.data):
            raise PickleError("damaged or truncated")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, code: str) -> int:
        """Returns the whole number that the next bytes are, in the notation of `struct`."""
        value: int = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return value

    def line(self) -> str:
        end = self.data.index(b"\n", self.position, self.position + 100)
        return self.take(end + 1 - self.position)[:-1].decode()

    def pop(self, length: int) -> tuple[Any, ...]:
        """Removes the last values of the stack, but none before the last mark."""
        if length > len(self.stack) - (self.marks[-1] if self.marks else 0):
            raise PickleError("damaged or truncated")
        taken = tuple(self.stack[len(self.stack) - length :])
        del self.stack[len(self.stack) - length :]
        return taken

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise PickleError("damaged or truncated")
        self.stack[-1].extend(values)

    def find(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("damaged or truncated")
        if (module, name) not in _NAMES:
            raise PickleError(f"the pickle names {module[:60]}.{name[:60]}")
        self.stack.append(_NAMES[module, name])

    def reduce(self) -> None:
        """Handles a call: only the two that an array and its type begin with are known, and neither is made."""
        called, arguments = self.pop(2)
        if called is _RECONSTRUCT and isinstance(arguments, tuple) and len(arguments) == 3 and arguments[0] is _ARRAY:
            self.stack.append(PickledArray())
        elif called is _DTYPE and isinstance(arguments, tuple) and arguments:
            self.stack.append(_Dtype(arguments[0]))
        else:
            raise PickleError(f"the pickle calls {called.text if isinstance(called, _Name) else 'a value'}")

    def build(self) -> None:
        (state,) = self.pop(1)
        target = self.stack[-1]
        if not isinstance(target, PickledArray | _Dtype) or target.state is not None:
            raise PickleError("damaged or truncated")
        target.state = state


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value(machine))


def _text(code: str, encoding: str) -> Callable[[_Machine], None]:
    return _push(lambda machine: machine.take(machine.number(code)).decode(encoding))


def _skip(length: int) -> Callable[[_Machine], None]:
    return lambda machine: (machine.take(length), None)[1]


def _put(index: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda machine: machine.memo.__setitem__(index(machine), machine.stack[-1])


def _get(code: str) -> Callable[[_Machine], None]:
    return _push(lambda machine: machine.memo[machine.number(code)])


_OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: _skip(1),  # PROTO
    0x95: _skip(8),  # FRAME
    0x28: lambda machine: machine.marks.append(len(machine.stack)),  # MARK
    0x4E: _push(lambda _: None),  # NONE
    0x88: _push(lambda _: True),  # NEWTRUE
    0x89: _push(lambda _: False),  # NEWFALSE
    0x4B: _push(lambda machine: machine.number("<B")),  # BININT1
    0x4D: _push(lambda machine: machine.number("<H")),  # BININT2
    0x4A: _push(lambda machine: machine.number("<i")),  # BININT
    0x8A: _push(lambda machine: int.from_bytes(machine.take(machine.number("<B")), "little", signed=True)),  # LONG1
    0x47: _push(lambda machine: struct.unpack(">d", machine.take(8))[0]),  # BINFLOAT
    0x8C: _text("<B", "utf-8"),  # SHORT_BINUNICODE
    0x58: _text("<I", "utf-8"),  # BINUNICODE
    0x55: _text("<B", "latin-1"),  # SHORT_BINSTRING, of Python 2
    0x54: _text("<i", "latin-1"),  # BINSTRING, of Python 2
    0x43: _push(lambda machine: machine.take(machine.number("<B"))),  # SHORT_BINBYTES
    0x42: _push(lambda machine: machine.take(machine.number("<I"))),  # BINBYTES
    0x29: _push(lambda _: ()),  # EMPTY_TUPLE
    0x85: _push(lambda machine: machine.pop(1)),  # TUPLE1
    0x86: _push(lambda machine: machine.pop(2)),  # TUPLE2
    0x87: _push(lambda machine: machine.pop(3)),  # TUPLE3
    0x74: _push(lambda machine: tuple(machine.since_mark())),  # TUPLE
    0x5D: _push(lambda _: []),  # EMPTY_LIST
    0x6C: _push(lambda machine: machine.since_mark()),  # LIST
    0x61: lambda machine: machine.extend([*machine.pop(1)]),  # APPEND
    0x65: lambda machine: machine.extend(machine.since_mark()),  # APPENDS
    0x63: lambda machine: machine.find(machine.line(), machine.line()),  # GLOBAL
    0x93: lambda machine: machine.find(*machine.pop(2)),  # STACK_GLOBAL
    0x52: _Machine.reduce,  # REDUCE
    0x62: _Machine.build,  # BUILD
    0x71: _put(lambda machine: machine.number("<B")),  # BINPUT
    0x72: _put(lambda machine: machine.number("<I")),  # LONG_BINPUT
    0x94: _put(lambda machine: len(machine.memo)),  # MEMOIZE
    0x68: _get("<B"),  # BINGET
    0x6A: _get("<I"),  # LONG_BINGET
}
