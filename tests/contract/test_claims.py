"""Claims: who has a name, who lacks one, and who is told when that changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_contract.catalog import duplicate_names
from imagegen_contract.claims import Claimant, Claims
from imagegen_contract.image_model import ImageModelSpec

MONDAY, TUESDAY, WEDNESDAY = (f"2026-03-0{day}T09:00:00Z" for day in (2, 3, 4))


def claimant(name: str, created: str, model_id: str, *aliases: str) -> Claimant:
    return Claimant(name=name, created=created, id=model_id, aliases=aliases)


CASES = {
    "one alone has its names": ([claimant("one", MONDAY, "acme/one", "uno")], {}),
    "names that nobody shares are everybody's own": (
        [claimant("one", MONDAY, "acme/one", "uno"), claimant("two", MONDAY, "acme/two", "due")],
        {},
    ),
    "the older has an id that two claim": (
        [claimant("a", TUESDAY, "acme/one"), claimant("b", MONDAY, "acme/one")],
        {"a": "id acme/one belongs to ImageModel b, which is older and has it as its id"},
    ),
    "of the same second the first by name has it": (
        [claimant("b", MONDAY, "acme/one"), claimant("a", MONDAY, "acme/one")],
        {"b": "id acme/one belongs to ImageModel a, which is older and has it as its id"},
    ),
    "an alias is a claim as good as an id": (
        [claimant("a", MONDAY, "acme/one", "turbo"), claimant("b", TUESDAY, "turbo")],
        {"b": "id turbo belongs to ImageModel a, which is older and has it as its alias"},
    ),
    "all names that are lacking are told": (
        [
            claimant("a", MONDAY, "acme/one"),
            claimant("b", TUESDAY, "acme/two", "due"),
            claimant("c", WEDNESDAY, "acme/one", "due"),
        ],
        {
            "c": "id acme/one belongs to ImageModel a, which is older and has it as its id; "
            "alias due belongs to ImageModel b, which is older and has it as its alias"
        },
    ),
    "who lacks a name keeps the claims that it has": (
        [
            claimant("a", MONDAY, "acme/one"),
            claimant("b", TUESDAY, "acme/one", "due"),
            claimant("c", WEDNESDAY, "acme/three", "due"),
        ],
        {
            "b": "id acme/one belongs to ImageModel a, which is older and has it as its id",
            "c": "alias due belongs to ImageModel b, which is older and has it as its alias",
        },
    ),
    "names that differ in case are two names": (
        [claimant("a", MONDAY, "acme/Dream"), claimant("b", TUESDAY, "acme/dream", "DREAM", "dream")],
        {},
    ),
    "the last segment of an id is no claim": (
        [claimant("a", MONDAY, "acme/dream"), claimant("b", TUESDAY, "other/dream", "dream")],
        {},
    ),
    "a name twice in one object is no rival of itself": ([claimant("a", MONDAY, "one", "one", "one")], {}),
}


@pytest.mark.parametrize(("claimants", "expected"), CASES.values(), ids=CASES.keys())
def test_who_lacks_a_name(claimants: list[Claimant], expected: dict[str, str]) -> None:
    claims = Claims(claimants)
    told = {each.name: claims.rival(each.name) for each in claimants}
    assert {name: words for name, words in told.items() if words} == expected


def test_a_name_has_the_owner_that_is_oldest() -> None:
    old, young = claimant("b", MONDAY, "acme/one"), claimant("a", TUESDAY, "acme/two", "acme/one")
    claims = Claims([young, old])
    assert (claims.owner("acme/one"), claims.owner("acme/two"), claims.owner("x")) == (old, young, None)


def test_an_object_that_is_not_known_lacks_nothing() -> None:
    assert Claims().rival("a") == ""
    assert Claims().remove("a") == frozenset()


def test_whose_rights_may_have_changed_is_told() -> None:
    claims = Claims()
    assert claims.put(claimant("a", MONDAY, "acme/one", "uno")) == set()
    assert claims.put(claimant("b", TUESDAY, "acme/two")) == set()
    assert claims.put(claimant("c", TUESDAY, "acme/three", "uno")) == {"a"}
    assert claims.put(claimant("c", TUESDAY, "acme/three", "acme/two")) == {"a", "b"}
    assert claims.put(claimant("c", TUESDAY, "acme/three", "acme/two")) == set()
    assert claims.remove("b") == {"c"}
    assert claims.rival("c") == ""


NAMES = st.sampled_from(["x", "X", "y", "a/x", "b/x"])
CLAIMANTS = st.builds(
    Claimant,
    name=st.sampled_from(["one", "two", "three", "four"]),
    created=st.sampled_from([MONDAY, TUESDAY, WEDNESDAY]),
    id=NAMES,
    aliases=st.lists(NAMES, max_size=2).map(tuple),
)
STEPS = st.lists(CLAIMANTS | st.sampled_from(["one", "two", "three", "four"]), max_size=20)


@given(STEPS)
def test_it_knows_what_a_look_at_all_objects_would_tell(steps: list[Claimant | str]) -> None:
    claims, alive = Claims(), dict[str, Claimant]()
    for step in steps:
        before = {name: claims.rival(name) for name in alive}
        name = step if isinstance(step, str) else step.name
        touched = claims.remove(step) if isinstance(step, str) else claims.put(step)
        alive.pop(name, None)
        alive |= {} if isinstance(step, str) else {name: step}
        after = {other: claims.rival(other) for other in alive}
        assert {other for other in after if other != name and after[other] != before[other]} <= touched
        assert touched <= alive.keys() - {name}
    for each in alive.values():
        older = [other for other in alive.values() if other.age < each.age and {*each.claimed} & {*other.claimed}]
        assert bool(claims.rival(each.name)) == bool(older)


@given(st.lists(CLAIMANTS, unique_by=lambda each: each.name))
def test_the_eldest_has_all_its_names_and_each_name_one_owner(claimants: list[Claimant]) -> None:
    claims = Claims(claimants)
    if claimants:
        assert claims.rival(min(claimants, key=lambda each: each.age).name) == ""
    for name in {name for each in claimants for name in each.claimed}:
        owner = claims.owner(name)
        assert owner in claimants
        assert all(owner.age <= each.age for each in claimants if owner and name in each.claimed)


@given(st.lists(CLAIMANTS.filter(lambda each: len(each.claimed) == 1 + len(each.aliases)), max_size=4))
def test_a_catalog_in_order_of_age_agrees_whether_a_name_is_claimed_twice(claimants: list[Claimant]) -> None:
    named = [
        Claimant(name=str(i), created=MONDAY, id=each.id, aliases=each.aliases) for i, each in enumerate(claimants)
    ]
    specs = [ImageModelSpec(publisher="p", family="f", version="v", id=each.id, aliases=each.aliases) for each in named]
    claims = Claims(named)
    assert bool(duplicate_names(specs)) == any(claims.rival(each.name) for each in named)
