"""The questions that the code of a graph has asked, and whether the answers are the same now."""

from collections.abc import Iterable
from typing import Any

from torch import fx, nn

from fxbin.binarized.call_form import Argument, argument_at
from fxbin.graph.attribute import submodule_at
from fxbin.onlookers import is_proxy
from fxbin.tracing import OfArgument, OfHeld, OfState, Question, answer_about, is_same_answer


class Asked:
    """Questions about settings of torch and about tensors of `model`, which are compared before a call."""

    def __init__(self, questions: Iterable[Question], model: nn.Module) -> None:
        questions = tuple(questions)
        self._of_state = tuple(q for q in questions if isinstance(q, OfState))
        self._of_tensors = tuple(
            (owner, name, q.name, q.answer)
            for q in questions
            if isinstance(q, OfHeld)
            for path, _, name in (q.path.rpartition("."),)
            if (owner := submodule_at(model, path)) is not None
        )

    def have_same_answers(self) -> bool:
        """Whether all answers are the same now."""
        if not self.have_same_state():
            return False
        for owner, name, asked, answer in self._of_tensors:
            if not is_same_answer(answer_about(getattr(owner, name, None), asked), answer):
                return False
        return True

    def have_same_state(self) -> bool:
        """Whether the settings of torch are the same now."""
        for question in self._of_state:  # noqa: SIM110  (generators take longer)
            if not question.holds():
                return False
        return True


def arguments_asked(questions: Iterable[Question], graph: fx.Graph) -> tuple[Argument, ...]:
    """What the questions about inputs require of the arguments of a call."""
    return tuple(
        argument_at(graph, q.argument, (*q.steps, (_answers, (q.name, q.answer))), value=True)
        for q in questions
        if isinstance(q, OfArgument)
    )


def _answers(tensor: Any, name: str, answer: Any) -> bool:
    if is_proxy(tensor):
        return True  # it stands for the examples of another tracer
    return is_same_answer(answer_about(tensor, name), answer)
