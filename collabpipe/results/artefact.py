"""What every artefact of a study can say: its files, what it is made from, whether what lies there fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from collabpipe.common.files import is_sealed, record_of
from collabpipe.plan.paths import files_in
from collabpipe.plan.recipes import Recipe

Known = dict[Path, str | None]
"""The digest of each file that artefacts vouch for; that of an artefact's record stands for the whole."""
Inputs = list[tuple[str, Path]]
"""What an artefact is made from: how messages name each input, and its file in `Known`."""
Asked = TypeVar("Asked", bound=Recipe)
Found = TypeVar("Found", bound=Mapping[str, Any])
"""The type of an artefact's record (plan/record_types.py)."""


class Artefact(Generic[Asked, Found]):
    """What a job makes from a recipe and inputs.

    Args:
        recipe: what was asked for.
        key: its name among those of its kind, as the plan has it.
        kind: what a person calls it.
        job: what makes it, as its log and its benchmark are named; the seeds of a block share a job.
        folder: its folder.
        names: its files there; the last one is its record.
        inputs: what its record names the digests of.
        waits_for: records that must be up to date too, although its own record does not name them.
        stands_for_recipe: the input that is made newer instead of the recipe, if another artefact shares the recipe.
    """

    asked_by: ClassVar[str] = "recipe"
    """What messages call the recipe."""
    disagrees = "was made by an earlier version of collabpipe, and the present one makes it differently"
    """What messages say of one whose record does not agree."""

    def __init__(
        self,
        recipe: Asked,
        key: Any,
        kind: str,
        job: str,
        folder: Path,
        names: Sequence[str],
        inputs: Inputs | None = None,
        waits_for: Sequence[Path] = (),
        stands_for_recipe: Path | None = None,
    ):
        self.recipe, self.key, self.kind, self.job = recipe, key, kind, job
        self.folder, self.names, self.record = folder, names, folder / names[-1]
        self.inputs, self.waits_for, self.stands_for_recipe = inputs or [], waits_for, stands_for_recipe
        self.about: Sequence[Path] = ()
        """Further files that its job reads."""

    @property
    def files(self) -> list[Path]:
        """All its files, the record last."""
        return files_in(self.folder, self.names)

    @property
    def reads(self) -> list[Path]:
        """The files that its job reads, without the recipe."""
        return [*(path for _, path in self.inputs), *self.waits_for, *self.about]

    def found(self) -> Found | None:
        """Its record; None if there is none or it was edited, because an edited record proves nothing."""
        record: Found = record_of(self.record)
        return record if record and is_sealed(record) else None

    def recipe_of(self, record: Found) -> Any:
        """The digest of the recipe that a record names."""
        return record["recipe"]

    def asks(self, record: Found) -> bool:
        """Whether a record was made from this recipe."""
        try:
            return bool(self.recipe_of(record) == self.recipe.digest)
        except (LookupError, TypeError):
            return False

    def is_whole(self) -> bool:
        """Whether its files are there."""
        return all(file.exists() for file in self.files)

    def made_from(self, known: Known) -> list[str | None]:
        """The digests of the plan's present inputs."""
        return [known.get(path) for _, path in self.inputs]

    def says(self, record: Found) -> list[str | None]:
        """The digests of the inputs that a record names."""
        return []

    def agrees(self, record: Found) -> bool:
        """Whether a record is consistent, also with inputs that are not artefacts."""
        return True

    def fits(self, record: Found, known: Known) -> bool:
        """Whether a record of this recipe was also made from the plan's present inputs."""
        try:
            same = self.says(record) == self.made_from(known)
            return same and all(path in known for path in self.waits_for) and self.agrees(record)
        except (AttributeError, LookupError, TypeError, ValueError):
            return False  # it lacks something

    def store_key(self, record: Found) -> str | None:
        """The key that its result has in the store, by the inputs in a record of this recipe."""
        return None

    def vouches(self, record: Found) -> Known:
        """The digests that others may build on."""
        return {self.record: record.get("digest", record["seal"])}


AnyArtefact: TypeAlias = Artefact[Any, Any]
