"""TensorFlow builders are found by name, and only the one that is asked for is imported."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from porter.errors import MissingDependencyError, TableError
from porter.runners import builders


def test_unknown_source_is_refused():
    """A builder of no known source names the sources that there are."""
    with pytest.raises(TableError, match=r"unknown source builder 'nowhere\.net'.*model_garden") as refused:
        builders.source_of("nowhere.net")

    assert refused.value.code == "table/builder"


@pytest.mark.tensorflow
def test_unknown_network_of_a_known_source_is_refused():
    """A builder that its source lacks names those that it has."""
    pytest.importorskip("official", reason="needs tf-models-official")
    program = "from porter.runners.builders import build; build('model_garden.nothing', {})"

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "TableError: unknown source builder 'model_garden.nothing'" in run.stderr
    assert "model_garden.mobilenet" in run.stderr


def test_package_of_another_version_is_named(monkeypatch):
    """Version 5 of transformers has no TensorFlow networks: the refusal names what is missing."""
    for package in ("tensorflow", "tf_keras", "transformers"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    monkeypatch.setenv("USE_TORCH", "0")

    with pytest.raises(MissingDependencyError, match=r"transformers is not .* suits: cannot") as caught:
        builders.source_of("transformers.mobilevit")

    assert "transformers<5" in caught.value.hint
