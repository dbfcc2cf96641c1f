"""Networks of any library are built as a table says, changed as it says, and fetch nothing."""

from __future__ import annotations

import pytest

from porter.errors import OutputError, PorterError, TableError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from porter.networks.any_target import adjust, answer_of, build_target  # noqa: E402  (needs torch)


def test_torchvision_builds_by_name():
    """The name is the one of `torchvision.models.get_model`."""
    pytest.importorskip("torchvision")

    model = build_target("torchvision", "squeezenet1_1", {"num_classes": 3})

    assert model.classifier[1].out_channels == 3


def test_a_class_of_transformers_is_built_from_its_config():
    """The arguments are the config's; the answer is taken out of the library's own record."""
    pytest.importorskip("transformers")
    arguments = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}

    model = build_target("transformers", "ViTForImageClassification", {**arguments, "image_size": 32})

    assert answer_of(model(torch.zeros(1, 3, 32, 32))).shape == (1, 2)


@pytest.mark.parametrize(
    ("library", "name", "arguments"),
    [
        ("timm", "resnet18", {"pretrained": True}),
        ("timm", "hf-hub:someone/model", {}),
        ("torchvision", "resnet18", {"weights": "DEFAULT"}),
        ("transformers", "ViTForImageClassification", {"trust_remote_code": True}),
        ("transformers", "pipeline", {}),
    ],
)
def test_what_a_table_names_fetches_nothing(library, name, arguments):
    """A table builds a network: weights from elsewhere, and code, are refused."""
    pytest.importorskip(library)

    with pytest.raises(OutputError, match=r"no weights are fetched|cannot build"):
        build_target(library, name, arguments)


@pytest.mark.parametrize("name", ["no_such_module_here:build", "json:no_such_function", "json:__name__"])
def test_a_function_that_is_not_there_is_named(name):
    """The message says what was looked for."""
    with pytest.raises(TableError, match=name):
        build_target("torch", name, {})


def test_a_function_must_return_a_network():
    """Something else is refused."""
    with pytest.raises(OutputError, match=r"no nn\.Module"):
        build_target("torch", "collections:OrderedDict", {})


def test_epsilon_is_set_for_all_norms_or_by_name():
    """A number is for every norm, a table for those it names; a name that is wrong is refused."""
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.LayerNorm(2))

    adjust(model, {"eps": 0.5})
    adjust(model, {"eps": {"1": 0.25}})

    assert [layer.eps for layer in model] == [0.5, 0.25]
    with pytest.raises(PorterError, match="bn1"):
        adjust(model, {"eps": {"bn1": 0.1}})
