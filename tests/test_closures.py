"""Functions of a copied module refer to the copy."""

import copy
import weakref
from collections import OrderedDict
from functools import partial
from types import MethodType
from typing import Any

from fxbin.original.closures import rebound


class Original:
    def answer(self) -> "Original":
        return self


OLD, NEW = Original(), Original()


def rebind(value: Any) -> Any:
    return rebound(value, {id(OLD): NEW})


def closing_over(held: Any) -> Any:
    return lambda: held


def test_what_speaks_of_nothing_copied_is_returned_itself() -> None:
    other = Original()
    for value in (
        closing_over(other),
        closing_over([other, 1]),
        other.answer,
        partial(closing_over, other),
        [other],
        {"key": (other, len)},
        weakref.ref(other),
        weakref.ref(Original()),  # which is gone
        weakref.proxy(Original()),
        3,
        Original,
    ):
        assert rebind(value) is value


def test_every_way_to_hold_something_is_found() -> None:
    def by_default(first: int = 0, held: Any = OLD, *, named: Any = OLD) -> tuple[int, Any, Any]:
        return first, held, named

    assert rebind(OLD) is NEW
    assert rebind(OLD.answer)() is NEW
    assert rebind(MethodType(lambda _, held=OLD: held, 1))() is NEW
    assert rebind(closing_over(OLD))() is NEW
    assert rebind(closing_over(OLD.answer))()() is NEW
    assert rebind(closing_over(closing_over(OLD)))()() is NEW
    assert rebind(closing_over([1, {"key": (OLD,)}]))()[1]["key"][0] is NEW
    assert rebind(partial(closing_over, OLD))()() is NEW
    assert rebind(partial(by_default, held=OLD))(4) == (4, NEW, NEW)
    assert rebind(by_default)() == (0, NEW, NEW)
    assert rebind(weakref.ref(OLD))() is NEW
    assert rebind({"key": weakref.proxy(OLD)})["key"].answer() is NEW
    assert by_default() == (0, OLD, OLD)


def test_containers_keep_their_type_and_the_original_its_content() -> None:
    hooks = OrderedDict([(7, closing_over(OLD)), (3, len)])
    found = rebind(hooks)
    assert type(found) is OrderedDict
    assert list(found) == [7, 3]
    assert found[7]() is NEW
    assert hooks[7]() is OLD


def test_functions_that_close_over_each_other() -> None:
    held = OLD

    def first(depth: int) -> Any:
        return second(depth - 1) if depth else held

    def second(depth: int) -> Any:
        return first(depth - 1) if depth else unassigned

    found = rebind(first)
    assert found(4) is NEW
    assert first(4) is OLD
    unassigned = None


def test_a_list_that_holds_itself_ends() -> None:
    held: list[Any] = [closing_over(None)]
    held.append(held)
    assert rebind(held) is held


def test_name_and_attributes_of_a_function_stay() -> None:
    def hook(held: Any = OLD) -> Any:
        """Documented."""

    vars(hook)["mark"] = 1
    found = rebind(hook)
    assert (found.__name__, found.__qualname__, found.__doc__) == ("hook", hook.__qualname__, "Documented.")
    assert found.mark == 1
    assert copy.copy(found) is found
