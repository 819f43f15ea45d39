"""Events are few: each case is a change of a status, and what people are told of it."""

import pytest

from imagegen_contract.conditions import Condition, ConditionStatus, ConditionType, ImageModelStatus, Reason
from imagegen_operator.objects import Observed, Outcome
from imagegen_operator.readiness import status
from imagegen_operator.transitions import EventText, events
from model_scenes import APPLIED, deployment, model, observed, pod, restarted, server, transfer

NOW = "2026-01-01T12:30:00Z"
NOTHING = ImageModelStatus()


def after(seen: Observed, reason: Reason = Reason.APPLIED) -> ImageModelStatus:
    outcome = APPLIED if reason is Reason.APPLIED else Outcome(reason=reason, message=f"words of {reason}")
    return status(seen, outcome, "image", NOW)


HEALTHY = observed(pod("ready"), rollout=deployment(ready=1))
STARTING = observed(pod("running, not ready"))
DOWNLOADING = observed(pod("running, not ready"), servers={"m-1": server(progress=transfer(1e9, 4e9))})
FURTHER = observed(pod("running, not ready"), servers={"m-1": server(progress=transfer(3e9, 4e9))})
LOOPING = observed(restarted(2))
LOOPING_ON = observed(restarted(3))
NO_IMAGE = observed(pod("image pull backs off"))
NO_GPU = observed(pod("no GPU free"))
BARE = Observed(model=model())

CHANGES: dict[str, tuple[ImageModelStatus, ImageModelStatus, list[tuple[str, Reason]]]] = {
    "nothing changed": (after(HEALTHY), after(HEALTHY), []),
    "a model was seen for the first time": (NOTHING, after(STARTING), []),
    "it became Ready": (after(DOWNLOADING), after(HEALTHY), [("Normal", Reason.ALL_REPLICAS_READY)]),
    "it was Ready at the first visit": (NOTHING, after(HEALTHY), [("Normal", Reason.ALL_REPLICAS_READY)]),
    "it goes on with a download": (after(DOWNLOADING), after(FURTHER), []),
    "it goes from one stage to the next": (after(STARTING), after(DOWNLOADING), []),
    "its pods are started anew": (after(HEALTHY), after(STARTING), [("Normal", Reason.STARTING)]),
    "it lost its node": (after(HEALTHY), after(NO_GPU), [("Warning", Reason.INSUFFICIENT_GPU)]),
    "it waits for a GPU from the beginning": (NOTHING, after(NO_GPU), []),
    "a pod crashes, which is told once": (after(HEALTHY), after(LOOPING), [("Warning", Reason.CRASH_LOOPING)]),
    "a new model crashes": (after(STARTING), after(LOOPING), [("Warning", Reason.CRASH_LOOPING)]),
    "it crashes once more": (after(LOOPING), after(LOOPING_ON), []),
    "it has another trouble than before": (after(LOOPING), after(NO_IMAGE), [("Warning", Reason.IMAGE_PULL_FAILED)]),
    "it is on its way again after a trouble": (after(LOOPING), after(STARTING), []),
    "its spec is refused while its pods serve": (
        after(HEALTHY),
        after(HEALTHY, Reason.DUPLICATE_ID),
        [("Warning", Reason.DUPLICATE_ID)],
    ),
    "its spec is refused from the beginning": (
        NOTHING,
        after(BARE, Reason.NAME_CONFLICT),
        [("Warning", Reason.NAME_CONFLICT)],
    ),
    "its spec is refused for another reason": (
        after(BARE, Reason.NAME_CONFLICT),
        after(BARE, Reason.APPLY_FAILED),
        [("Warning", Reason.APPLY_FAILED)],
    ),
    "its spec is accepted again": (after(HEALTHY, Reason.APPLY_FAILED), after(HEALTHY), []),
    "two things go wrong at once": (
        after(HEALTHY),
        after(LOOPING, Reason.APPLY_FAILED),
        [("Warning", Reason.APPLY_FAILED), ("Warning", Reason.CRASH_LOOPING)],
    ),
}


@pytest.mark.parametrize(("before", "then", "told"), CHANGES.values(), ids=CHANGES.keys())
def test_what_is_told(before: ImageModelStatus, then: ImageModelStatus, told: list[tuple[str, Reason]]) -> None:
    assert [(event.type, event.reason) for event in events(before, then)] == told


def test_an_event_has_the_words_of_its_condition() -> None:
    then = after(LOOPING)
    (found,) = [each for each in then.conditions if each.type == ConditionType.DEGRADED]
    assert events(after(HEALTHY), then) == (EventText(type="Warning", reason="CrashLooping", message=found.message),)


@pytest.mark.parametrize("kind", [ConditionType.READY, ConditionType.RECONCILED, ConditionType.DEGRADED])
@pytest.mark.parametrize("word", ["True", "False"])
def test_a_change_of_words_alone_is_not_told(kind: ConditionType, word: ConditionStatus) -> None:
    one, other = (ImageModelStatus(conditions=(condition(kind, word, message),)) for message in ("one", "other"))
    assert events(one, other) == ()


def condition(kind: ConditionType, word: ConditionStatus, message: str) -> Condition:
    return Condition(
        type=kind,
        status=word,
        reason="Same",
        message=message,
        observed_generation=1,
        last_transition_time=NOW,
    )
