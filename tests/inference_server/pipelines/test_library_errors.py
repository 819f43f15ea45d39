"""What the libraries say, in our words: the cause stays, advice to programmers goes."""

import pytest

from conftest import Show
from imagegen_server.errors import LoadError
from imagegen_server.pipelines.library_errors import load_errors, words_of


def caused(message: str, cause: Exception) -> OSError:
    """Return an error that another one led to."""
    error = OSError(message)
    error.__cause__ = cause
    return error


SAID: dict[str, tuple[Exception, str]] = {
    "advice about arguments": (
        ValueError(
            "Cannot load conv_in because weight expected shape torch.Size([8, 4, 3, 3]), but got torch.Size([8, 9]). "
            "If you want to instead overwrite randomly initialized weights, please make sure to pass both "
            "`low_cpu_mem_usage=False` and `ignore_mismatched_sizes=True`. For more information, see also: "
            "https://github.com/huggingface/diffusers/issues/1619"
        ),
        "Cannot load conv_in because weight expected shape (8, 4, 3, 3), but got (8, 9)",
    ),
    "a template that was never filled in": (
        ValueError(
            "Make sure to define a feature extractor when loading {self.__class__} if you want to use the safety "
            "checker. If you do not want to use the safety checker, you can pass `'safety_checker=None'` instead."
        ),
        "ValueError",
    ),
    "the name of a class": (
        NotImplementedError("sigmoid is not implemented for <class 'diffusers.schedulers.x.EulerDiscreteScheduler'>"),
        "sigmoid is not implemented for EulerDiscreteScheduler",
    ),
    "a cause below a message that only says where": (
        caused(
            "Unable to load weights from checkpoint file for '/models/x' at '/models/x'. Make sure it is whole.",
            ValueError("header too large"),
        ),
        "header too large",
    ),
    "one word": (KeyError("quick_gelu_2"), "KeyError: 'quick_gelu_2'"),
    "nothing at all": (RuntimeError(), "RuntimeError"),
    "several lines": (RuntimeError("Error(s) in loading\n\tsize mismatch"), "Error(s) in loading"),
}


@pytest.mark.acceptance
@pytest.mark.parametrize("case", SAID)
def test_the_cause_is_said_without_advice_to_programmers(case: str, show: Show) -> None:
    error, words = SAID[case]
    assert words_of(error) == words
    show("14.1 fault 9: words that mislead", f"{case}: {words}")


def test_a_cause_comes_with_the_name_of_what_could_not_be_loaded() -> None:
    with pytest.raises(LoadError, match=r"^unet cannot be loaded: KeyError: 'x'$"), load_errors("unet"):
        raise KeyError("x")
