"""Which folders and labels belong to which class."""

from __future__ import annotations

from fnmatch import fnmatchcase

from wbcsr.config import Config
from wbcsr.errors import InputError


class Classes:
    """The classes of `dataset` (section of the configuration), and the folders or labels that belong to each.

    `members` maps each class to them. Without `dataset["members"]`, a class has the name of its folder or label. A
    member with `*` or `?` is a pattern; a name that is a member itself belongs to its class, whatever patterns match.
    """

    def __init__(self, dataset: Config) -> None:
        given: dict[str, list[str]] | None = dataset.get("members")
        self.members = given or {name: [name] for name in dataset["classes"]}
        self._patterns = {
            member: name
            for name, members in (given or {}).items()
            for member in members
            if "*" in member or "?" in member
        }
        # The members that are no patterns → their class, in the order of the configuration.
        self.names = {
            member: name for name, members in self.members.items() for member in members if member not in self._patterns
        }
        self._known: dict[str, str | None] = dict(self.names)

    def of(self, name: str) -> str | None:
        """The class of a folder or label, or None. Raises InputError if it matches patterns of several classes."""
        if name not in self._known:
            found = {owner: pattern for pattern, owner in self._patterns.items() if _matches(name, pattern)}
            if len(found) > 1:
                (one, first), (other, second), *_ = found.items()
                raise InputError(
                    f"configuration: dataset.classes: {name!r} matches {first!r} of {one!r} and {second!r} of "
                    f"{other!r}; make the patterns narrower"
                )
            self._known[name] = next(iter(found), None)
        return self._known[name]

    def is_merged(self, name: str) -> bool:
        """Whether several folders or labels may belong to a class."""
        return len(self.members[name]) > 1 or self.members[name][0] in self._patterns

    def described(self, name: str) -> str:
        """The members of a class for a message: `'SNE' or 'BNE'`."""
        return " or ".join(map(repr, self.members[name]))


def _matches(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern with `*` and `?`; a bracket, which fnmatch knows as well, stands for itself."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))
