"""Who may use a name of a model when several ImageModels claim it. Operator and router decide it here.

An object claims its id and its aliases, letter by letter: names that differ in case are two names, as for
`catalog.resolve`, which ignores case only where one model is left. (The last segment of an id is a convenience and no
claim.) The oldest object that claims a name has it, by creationTimestamp and then by the object's name.

An object that lacks one of its names is not served, yet keeps its own claims. So only pairs decide: whether a model is
served never hangs on what became of a third one, and what runs is not stopped because an unrelated object went.
"""

from collections.abc import Iterable

import msgspec


class Claimant(msgspec.Struct, frozen=True, kw_only=True):
    """One ImageModel, since when it exists (RFC 3339 in UTC, as Kubernetes writes it), and what it claims.

    ``name`` is the object's; with its namespace and a slash before it where there are several namespaces.
    """

    name: str
    created: str = ""
    id: str
    aliases: tuple[str, ...] = ()

    @property
    def claimed(self) -> tuple[str, ...]:
        """Every name that it claims once, the id first."""
        return tuple(dict.fromkeys((self.id, *self.aliases)))

    @property
    def age(self) -> tuple[str, str]:
        """Its place among all, the oldest first: times of one form sort as text."""
        return self.created, self.name


class Claims:
    """The claims of all objects. A change or a question costs as much as the object has names and these have claimants.

    Belongs to one thread.
    """

    def __init__(self, claimants: Iterable[Claimant] = ()) -> None:
        self._claimants: dict[str, Claimant] = {}
        self._of_name: dict[str, dict[str, Claimant]] = {}
        for claimant in claimants:
            self.put(claimant)

    def put(self, claimant: Claimant) -> frozenset[str]:
        """Take an object as it is now; return the names of the other objects whose rights may have changed."""
        if self._claimants.get(claimant.name) == claimant:
            return frozenset()
        touched = self.remove(claimant.name)
        self._claimants[claimant.name] = claimant
        for name in claimant.claimed:
            self._of_name.setdefault(name, {})[claimant.name] = claimant
        return touched | self._sharing(claimant)

    def remove(self, name: str) -> frozenset[str]:
        """Forget an object, if it is known; return the names of the others whose rights may have changed."""
        claimant = self._claimants.get(name)
        if claimant is None:
            return frozenset()
        touched = self._sharing(claimant)
        del self._claimants[name]
        for claimed in claimant.claimed:
            del self._of_name[claimed][name]
            if not self._of_name[claimed]:
                del self._of_name[claimed]
        return touched

    def owner(self, model_name: str) -> Claimant | None:
        """Return the object that has an id or alias, None when none claims it."""
        return min(self._of_name.get(model_name, {}).values(), key=lambda claimant: claimant.age, default=None)

    def rival(self, name: str) -> str:
        """Return in words which of its names an object lacks and who has them; "" when it has all, or is not known."""
        claimant = self._claimants.get(name)
        if claimant is None:
            return ""
        owners = [(claimed, self.owner(claimed)) for claimed in claimant.claimed]
        lost = [_lost(each, claimant, owner) for each, owner in owners if owner is not None and owner != claimant]
        return "; ".join(lost)

    def _sharing(self, claimant: Claimant) -> frozenset[str]:
        sharing = (name for claimed in claimant.claimed for name in self._of_name.get(claimed, ()))
        return frozenset(sharing) - {claimant.name}


def _lost(model_name: str, claimant: Claimant, owner: Claimant) -> str:
    field = "id" if model_name == claimant.id else "alias"
    return f"{field} {model_name} belongs to ImageModel {owner.name}, which is older and has it as its " + (
        "id" if model_name == owner.id else "alias"
    )
