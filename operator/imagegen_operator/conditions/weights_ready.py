"""WeightsReady: whether the weights are on the device of every pod, and how far they are while they are not.

One pod speaks for all: one that failed before one that loads, the one that is furthest behind before the others.
"""

from imagegen_contract.conditions import Reason
from imagegen_contract.load_failures import MENDED_ELSEWHERE
from imagegen_contract.server_status import FETCHING, DownloadProgress, ModelStatus
from imagegen_operator.conditions.facts import Facts
from imagegen_operator.conditions.verdicts import Verdict, first
from imagegen_operator.pods import Pod
from imagegen_operator.quoting import plain, sentence


def weights_ready(facts: Facts) -> Verdict:
    """Judge WeightsReady."""
    return first((_scaled_to_zero, _failed, _downloading, _loading, _waiting), _loaded, facts)


def _scaled_to_zero(facts: Facts) -> Verdict | None:
    if facts.wanted or facts.pods:
        return None
    return Verdict("Unknown", Reason.SCALED_TO_ZERO, "No pods are wanted.")


def _failed(facts: Facts) -> Verdict | None:
    for pod, report in _unloaded(facts):
        if report and report.reason and report.progress is None:
            message = f"Pod {pod.name}: {sentence(plain(report.error or report.reason))} {what_follows(report)}"
            return Verdict("False", Reason.WEIGHTS_FAILED, message)
    return None


def what_follows(report: ModelStatus) -> str:
    """Return what the server does after a failed load."""
    if report.state == "failed" and report.reason in MENDED_ELSEWHERE:
        return "The server looks again every 5 minutes."
    if report.state == "failed":
        return "The server does not try again by itself; it does in a new pod."
    return "The server tries again by itself."


def _downloading(facts: Facts) -> Verdict | None:
    reports = [report for _, report in _unloaded(facts) if report and report.stage in {"", FETCHING}]
    transfers = [report.progress for report in reports if report.progress]
    if not transfers:
        return None
    slowest = min(transfers, key=lambda progress: progress.percent)
    return _not_yet(facts, Reason.DOWNLOADING, progress_words(slowest))


def _loading(facts: Facts) -> Verdict | None:
    stages = [_stage(report) for _, report in _unloaded(facts) if report]
    return _not_yet(facts, Reason.LOADING, stages[0]) if stages else None


def _stage(report: ModelStatus) -> str:
    words = plain(report.stage) or "the server starts"
    return f"{words}: {progress_words(report.progress)}" if report.progress else words


def _waiting(facts: Facts) -> Verdict | None:
    started = [pod.name for pod, _ in _unloaded(facts) if pod.running]
    if started:
        return _not_yet(facts, Reason.WAITING_FOR_POD, f"the server of {started[0]} has not answered yet")
    loaded = len(_loaded_pods(facts))
    if loaded >= facts.wanted:
        return None
    return _not_yet(facts, Reason.WAITING_FOR_POD, f"no {'other ' if loaded else ''}pod runs yet")


def _not_yet(facts: Facts, reason: Reason, words: str) -> Verdict:
    """Say what happens, after how many pods are done where there are several."""
    if facts.wanted > 1:
        words = f"{len(_loaded_pods(facts))} of {facts.wanted} pods have loaded; {words}"
    return Verdict("False", reason, f"{words[0].upper()}{words[1:]}.")


def _loaded(facts: Facts) -> Verdict:
    return Verdict(
        "True", Reason.LOADED, f"{len(_loaded_pods(facts))} of {facts.wanted} pods have the model on the device."
    )


def _loaded_pods(facts: Facts) -> list[Pod]:
    return [pod for pod in facts.pods if _has_loaded(facts, pod)]


def _unloaded(facts: Facts) -> list[tuple[Pod, ModelStatus | None]]:
    return [(pod, facts.report(pod)) for pod in facts.pods if not _has_loaded(facts, pod)]


def _has_loaded(facts: Facts, pod: Pod) -> bool:
    report = facts.report(pod)
    return pod.ready or (report is not None and report.state == "ready")


def progress_words(progress: DownloadProgress) -> str:
    """Return how far weights are, in steps so coarse that a message changes seldom: 3.2 of 6.9 GB, 46 %."""
    words = f"{_bytes(progress)}, {progress.percent:.0f} %"
    if progress.eta_seconds is None or progress.bytes_per_second <= 0:
        return words
    return f"{words}, {_remaining(progress.eta_seconds)} left"


def _bytes(progress: DownloadProgress) -> str:
    unit, name = (1e9, "GB") if progress.bytes_total >= 1e9 else (1e6, "MB")
    return f"{progress.bytes_done / unit:.1f} of {progress.bytes_total / unit:.1f} {name}"


def _remaining(seconds: float) -> str:
    if seconds < 60:
        return "less than 1 min"
    minutes = round(seconds / 60)
    if minutes < 10:
        return f"about {minutes} min"
    if minutes < 60:
        return f"about {5 * round(minutes / 5)} min"
    return f"about {round(minutes / 60)} h"
