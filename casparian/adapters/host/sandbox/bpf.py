"""A system call filter as the kernel takes it: a program in classic BPF.

Of arguments the lower 32 bits are looked at: the ones that rules are about are int, or flags
whose upper half the kernel does not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from casparian.adapters.host.sandbox.syscalls import NEWEST, Architecture

INSTRUCTION = struct.Struct("=HBBI")
LOAD, AND, JUMP, JUMP_EQUAL, JUMP_FROM, RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
ALL_BITS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Condition:
    """About one argument: under the mask it is one of the values, or with `but` none of them."""

    argument: int
    values: tuple[int, ...]
    mask: int = ALL_BITS
    but: bool = False


def program(
    architecture: Architecture,
    conditional: Mapping[int, Sequence[Condition]],
    refused: Mapping[int, Iterable[int]],
    unknown: int,
) -> bytes:
    """Everything is allowed but what is `refused`, by errno, and calls that are `conditional` and
    do not meet all of their conditions: these are refused as the first errno is. `unknown` is the
    errno of calls that are newer than this program's knowledge."""
    errno = next(iter(refused))
    code = [
        _step(LOAD, _ARCHITECTURE),
        _step(JUMP_EQUAL, architecture.audit, 1, 0),
        _step(RETURN, KILL_PROCESS),
        _step(LOAD, _NUMBER),
    ]
    if architecture.foreign is not None:
        code += [_step(JUMP_FROM, architecture.foreign, 0, 1), _step(RETURN, ERRNO | errno)]
    code += [_step(JUMP_FROM, NEWEST + 1, 0, 1), _step(RETURN, ERRNO | unknown)]
    for number, conditions in conditional.items():
        block = [i for condition in conditions for i in _check(condition, errno)]
        block.append(_step(RETURN, ALLOW))
        code += [_step(JUMP_EQUAL, number, 0, len(block)), *block]
    for error, numbers in refused.items():
        for number in numbers:
            code += [_step(JUMP_EQUAL, number, 0, 1), _step(RETURN, ERRNO | error)]
    code.append(_step(RETURN, ALLOW))
    return b"".join(code)


def _check(condition: Condition, errno: int) -> list[bytes]:
    """Goes on behind itself where the condition is met, and refuses elsewhere."""
    code = [_step(LOAD, _ARGUMENTS + 8 * condition.argument)]
    if condition.mask != ALL_BITS:
        code.append(_step(AND, condition.mask))
    left = len(condition.values)
    for value in condition.values:
        left -= 1
        # Over the comparisons that are left, and over the step behind them: that is the refusal,
        # or the jump over it.
        code.append(_step(JUMP_EQUAL, value, left + 1, 0))
    if condition.but:
        code.append(_step(JUMP, 1))
    code.append(_step(RETURN, ERRNO | errno))
    return code


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return INSTRUCTION.pack(code, if_true, if_false, operand)
