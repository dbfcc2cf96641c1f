"""HDF5 names with backslashes, as tf_keras wrote them on Windows: one group for several."""

from __future__ import annotations

from porter.errors import printable
from porter.formats.hdf5.description import Attribute, Description, Stored
from porter.formats.malformed import Malformed


def with_slashes(description: Description) -> Description:
    """Return the description of a file that Windows wrote with the groups that are meant.

    Raises:
        Malformed: two groups or datasets become one.
    """
    if not any("\\" in path for path in description.groups):
        return description
    groups: dict[str, dict[str, Attribute]] = {}
    for path, attributes in description.groups.items():
        parts = path.replace("\\", "/").split("/")
        for end in range(len(parts)):
            groups.setdefault("/".join(parts[:end]), {})
        groups.setdefault("/".join(parts), {}).update(attributes)
    datasets: dict[str, Stored] = {}
    for path, stored in description.datasets.items():
        name = path.replace("\\", "/")
        if name in datasets or name in groups:
            raise Malformed(
                "keras/two-of-one-name",
                "two names of the file are one when Windows's backslashes are taken for slashes",
                found=f"'{printable(name)}'",
            )
        datasets[name] = stored
    return Description(groups, datasets)
