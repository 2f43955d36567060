"""Many sessions that advance together: one call for all their crops instead of one each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptiveclick_med.clicks import Click, points_tensor
from adaptiveclick_med.inference.prediction import Prediction
from adaptiveclick_med.inference.session import InteractiveSession
from adaptiveclick_med.inference.state import Question
from adaptiveclick_med.networks import AdaptiveClickOutput

__all__ = ["click_together"]


def click_together(sessions: Sequence[InteractiveSession], clicks: Sequence[Click]) -> list[Prediction]:
    """Add one click to each of several sessions and predict for all of them at once.

    Crops of one size go through the network in one batch; on a CPU, each core takes crops of its own. The results are
    those of ``session.click`` one by one, up to the rounding of batched arithmetic.

    Args:
        sessions: different sessions with one network, see :meth:`InteractiveSession.sibling`.
        clicks: one for each session, in pixels of its image.

    Returns:
        One prediction a session.

    Raises:
        ValueError: when the numbers differ, a session comes twice, sessions have different networks, or as
            :meth:`InteractiveSession.click`. All sessions stay as they were then.
        RuntimeError: as :meth:`InteractiveSession.click`.
    """
    if len(sessions) != len(clicks):
        raise ValueError(f"There must be one click for each session, got {len(clicks)} and {len(sessions)}.")
    if len({id(session) for session in sessions}) < len(sessions):
        raise ValueError("sessions must be different: one of them comes twice.")
    if len({(id(session.predictor.network), session.predictor.flip) for session in sessions}) > 1:
        raise ValueError("sessions must share one network; make them with sibling().")
    questions = [session.ask(click) for session, click in zip(sessions, clicks, strict=True)]
    predictions = _answer_together(sessions, questions)
    again = [session.ask_again(question) for session, question in zip(sessions, questions, strict=True)]
    second = {index: question for index, question in enumerate(again) if question is not None}
    found = _answer_together([sessions[index] for index in second], list(second.values()))
    for index, prediction in zip(second, found, strict=True):
        predictions[index] = prediction
    return predictions


def _answer_together(sessions: Sequence[InteractiveSession], questions: Sequence[Question]) -> list[Prediction]:
    """Answer one question of each session; frames of one size go through the network in one batch."""
    groups: dict[torch.Size, list[int]] = {}
    for index, question in enumerate(questions):
        groups.setdefault(question.frame.shape, []).append(index)
    answers: dict[int, tuple[Tensor, AdaptiveClickOutput | None]] = {}
    for members in groups.values():
        frames = torch.cat([questions[index].frame for index in members])
        points = points_tensor([questions[index].moved for index in members], dtype=frames.dtype, device=frames.device)
        logits, candidates = sessions[0].predictor(frames[:, :3], frames[:, 3:], points)
        for place, index in enumerate(members):
            answers[index] = (logits[place : place + 1], None if candidates is None else candidates.sample(place))
    return [
        session.answer(question, *answers[index])
        for index, (session, question) in enumerate(zip(sessions, questions, strict=True))
    ]
