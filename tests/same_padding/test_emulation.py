"""Emulation in whole models: what is rewritten, what is kept and why, and the way back."""

import copy
import pickle
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from torch import nn  # noqa: E402  after the check that torch is there

from porter.same_padding import (  # noqa: E402
    AvgPool2dSame,
    Conv2dSame,
    MaxPool2dSame,
    SamePaddingError,
    emulate_same_padding,
    fold_same_padding,
    restore_padding,
)


def outcome(layer, **arguments):
    """Return (action, class) after emulating a model that is one layer; ("nothing", class) if unlisted."""
    changes = emulate_same_padding(nn.Sequential(layer), **arguments)
    return changes[0].action if changes else "nothing", type(layer)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(3, 3, 3, 2, 1), ("dynamic", Conv2dSame)),
        (nn.Conv2d(3, 3, 7, 2, 3), ("dynamic", Conv2dSame)),
        (nn.Conv2d(3, 3, 4, 2, 1), ("dynamic", Conv2dSame)),
        (nn.Conv2d(3, 3, (1, 5), (1, 2), (0, 2)), ("dynamic", Conv2dSame)),
        (nn.Conv2d(3, 3, 3, 1, 1), ("nothing", nn.Conv2d)),
        (nn.Conv2d(3, 3, 3, 1, 2, dilation=2), ("nothing", nn.Conv2d)),
        (nn.Conv2d(3, 3, 1, 2), ("nothing", nn.Conv2d)),
        (nn.Conv2d(3, 3, 4, padding="same"), ("nothing", nn.Conv2d)),
        (nn.Conv2d(3, 3, 3, padding="valid"), ("kept", nn.Conv2d)),
        (nn.Conv2d(3, 3, 3, 2), ("kept", nn.Conv2d)),
        (nn.Conv2d(3, 3, 16, 16), ("kept", nn.Conv2d)),
        (nn.Conv2d(3, 3, 11, 4, 2), ("kept", nn.Conv2d)),
        (nn.Conv2d(3, 3, 3, 1, 2), ("kept", nn.Conv2d)),
        (nn.Conv2d(3, 3, 3, 2, 1, padding_mode="reflect"), ("kept", nn.Conv2d)),
        (nn.LazyConv2d(3, 3, 2, 1), ("kept", nn.LazyConv2d)),
        (nn.MaxPool2d(3, 2, 1), ("dynamic", MaxPool2dSame)),
        (nn.MaxPool2d(3, 1, 1), ("nothing", nn.MaxPool2d)),
        (nn.MaxPool2d(2), ("kept", nn.MaxPool2d)),
        (nn.MaxPool2d(2, ceil_mode=True), ("nothing", nn.MaxPool2d)),
        (nn.MaxPool2d(3, 2, ceil_mode=True), ("kept", nn.MaxPool2d)),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), ("kept", nn.MaxPool2d)),
        (nn.MaxPool2d(3, 2, 1, return_indices=True), ("kept", nn.MaxPool2d)),
        (nn.AvgPool2d(3, 2, 1), ("dynamic", AvgPool2dSame)),
        (nn.AvgPool2d(3, 1, 1), ("native", nn.AvgPool2d)),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), ("nothing", nn.AvgPool2d)),
        (nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False), ("nothing", nn.AvgPool2d)),
        (nn.AvgPool2d(3, 2, 1, divisor_override=2), ("kept", nn.AvgPool2d)),
    ],
    ids=repr,
)
def test_the_rule(layer, expected):
    """Padding that can yield SAME's size stands for SAME; VALID and every other padding is listed."""
    assert outcome(layer) == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(3, 3, 3, 2), ("dynamic", Conv2dSame)),
        (nn.Conv2d(3, 3, 3), ("native", nn.Conv2d)),
        (nn.Conv2d(3, 3, 11, 4, 2), ("dynamic", Conv2dSame)),
        (nn.MaxPool2d(2), ("dynamic", MaxPool2dSame)),
        (nn.Conv2d(3, 3, 3, 2, 1, padding_mode="reflect"), ("kept", nn.Conv2d)),
    ],
    ids=repr,
)
def test_include_says_that_a_layer_is_same(layer, expected):
    """A layer named in `include` is rewritten whatever its padding, but never one that does not pad zeros."""
    assert outcome(layer, include=["0"]) == expected


class Standardized(nn.Conv2d):
    """A convolution that changes its weight, as weight-standardized networks do."""

    def forward(self, x):
        """Convolve with the weight of zero mean."""
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class HandWrittenSame(nn.Conv2d):
    """SAME written by hand, in another way than here."""

    def forward(self, x):
        """Pad for ceil(size / stride) outputs, then convolve."""
        sides = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max(kernel - (size % stride or stride), 0)
            sides += [total // 2, total - total // 2]
        return nn.functional.conv2d(nn.functional.pad(x, sides), self.weight, self.bias, self.stride)


class Named(nn.Conv2d):
    """A subclass that changes nothing."""


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_forward_of_its_own_is_judged_by_what_it_computes(device):
    """A foreign SAME layer is replaced, on any device; a layer that does something else is kept."""
    assert outcome(HandWrittenSame(3, 4, 3, 2, device=device)) == ("dynamic", Conv2dSame)
    assert outcome(HandWrittenSame(3, 4, 3, 1, device=device)) == ("native", nn.Conv2d)
    assert outcome(Standardized(3, 4, 3, 2, 1, device=device)) == ("kept", Standardized)
    assert outcome(Named(3, 4, 3, 2, 1, device=device)) == ("dynamic", Conv2dSame)


def test_zero_weights_do_not_hide_what_a_forward_computes():
    """The trial run uses weights of its own: a zero-initialised layer is judged as any other."""
    layer = Standardized(3, 4, 3, 2, 1)
    nn.init.zeros_(layer.weight)
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))

    assert outcome(layer) == ("kept", Standardized)
    assert not calls
    assert not layer.weight.any()


class Clamped(HandWrittenSame):
    """SAME, and more that small inputs do not show."""

    def forward(self, x):
        """Convolve, then cut off."""
        return super().forward(x).clamp(max=6.0)


class Dropped(HandWrittenSame):
    """SAME, and more that eval mode does not show."""

    def forward(self, x):
        """Convolve, then drop."""
        return nn.functional.dropout(super().forward(x), training=self.training)


class Masked(HandWrittenSame):
    """SAME with a mask, which may be all ones now and not later."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.register_buffer("mask", torch.ones_like(self.weight))


@pytest.mark.parametrize("kind", [Clamped, Dropped, Masked])
def test_a_forward_that_does_more_than_pad_is_kept(kind):
    """What else a layer computes would be lost, be it visible only for large values, in training or later."""
    model = nn.Sequential(kind(3, 4, 3, 2), nn.Conv2d(4, 4, 3, 2, 1)).eval()

    assert [change.action for change in emulate_same_padding(model)] == ["kept", "dynamic"]
    assert type(model[0]) is kind
    assert [change.name for change in fold_same_padding(model, (16, 16))] == ["1"]


def test_a_layer_can_be_judged_where_new_tensors_are_made_elsewhere():
    """The trial run stays on the CPU when torch is told to make new tensors on another device."""
    with torch.device("meta"):
        assert outcome(HandWrittenSame(3, 4, 3, 2)) == ("dynamic", Conv2dSame)


def test_a_forward_put_on_the_instance_is_kept():
    """Wrappers such as accelerate's hooks replace a layer's forward, which a new class would not reach."""
    layer = nn.Conv2d(3, 4, 3, 2, 1)
    layer.forward = layer.forward

    assert outcome(layer) == ("kept", nn.Conv2d)


def test_a_parametrized_layer_is_kept():
    """A layer whose weight is computed by a parametrization keeps it."""
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, 2, 1))

    assert outcome(layer)[0] == "kept"


def test_a_layer_parametrized_since_is_not_restored():
    """Its class belongs to the parametrization now: taking it away would take the weight."""
    model = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 4, 3, 2, 1))
    emulate_same_padding(model)
    nn.utils.parametrizations.weight_norm(model[1])

    with pytest.raises(SamePaddingError) as refused:
        restore_padding(model)
    assert refused.value.code == "same-padding/parametrized"
    assert type(model[0]) is MaxPool2dSame
    nn.utils.parametrize.remove_parametrizations(model[1], "weight")
    restore_padding(model)
    assert (type(model[0]), type(model[1])) == (nn.MaxPool2d, nn.Conv2d)


def network(*, shared=True):
    """Return layers in every state, as people write them; the shared one sees two sizes."""
    torch.manual_seed(0)
    first = nn.Conv2d(8, 8, 3, 2, 1)
    second = first if shared else nn.Conv2d(8, 8, 3, 2, 1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.Sequential(first, nn.ReLU(), second),
        nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d(3, 1, 1),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(8, 8, 3, 2, groups=8),
        HandWrittenSame(8, 4, 2, 1),
    ).double()


def test_the_record_names_everything_that_changed():
    """Records come in the model's order, one per layer, with its description before and after."""
    changes = emulate_same_padding(network())

    assert [(change.name, change.action) for change in changes] == [
        ("0", "dynamic"),
        ("2.0", "dynamic"),
        ("3", "dynamic"),
        ("4", "native"),
        ("6", "kept"),
        ("7", "dynamic"),
    ]
    assert "padding=(1, 1)" in changes[0].before
    assert "padding=same" in changes[0].after
    assert "padding is 0" in changes[4].reason


def test_what_is_restored_is_what_was_there_at_first():
    """Emulated, changed by hand and emulated again, a layer still goes back to its own class."""
    model = nn.Sequential(HandWrittenSame(3, 4, 3, 1))
    emulate_same_padding(model)
    model[0].stride = (2, 2)
    emulate_same_padding(model)
    assert type(model[0]) is Conv2dSame

    restore_padding(model)
    assert type(model[0]) is HandWrittenSame


def test_a_subclass_that_only_inherits_keeps_its_class():
    """Native padding needs no other class."""
    assert outcome(Named(3, 4, 3, 1), include="*") == ("native", Named)


def test_numbers_of_numpy_are_numbers():
    """A window given by numpy integers is one that torch takes."""
    assert outcome(nn.MaxPool2d(np.int64(3), np.int64(2), np.int64(1))) == ("dynamic", MaxPool2dSame)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float16])
def test_a_maximum_may_be_of_integers(dtype):
    """What is padded is the lowest number of the type."""
    assert torch.equal(
        MaxPool2dSame(2, 1)(torch.ones(1, 3, 8, 8, dtype=dtype)), torch.ones(1, 3, 8, 8, dtype=dtype)
    )


def test_emulating_twice_changes_nothing_more():
    """A second call lists only what the first one kept."""
    model = network()
    emulate_same_padding(model)

    assert {change.action for change in emulate_same_padding(model)} == {"kept"}


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_restoring_is_exact(fold, copied):
    """Description, state dict, parameters and output are as before, also in a copied, pickled model."""
    model = network(shared=not fold).eval()
    x = torch.randn(2, 3, 64, 62, dtype=torch.float64)
    before = repr(model), model(x), list(model.state_dict()), [type(module) for module in model.modules()]
    parameters = list(model.parameters())

    emulate_same_padding(model)
    assert list(model.state_dict()) == before[2]
    assert not torch.equal(model(x), before[1])
    if fold:
        fold_same_padding(model, (64, 62))
        assert list(model.state_dict()) == before[2]
    if copied:
        model = pickle.loads(pickle.dumps(copy.deepcopy(model)))  # noqa: S301  our own bytes
    restored = restore_padding(model)

    assert {change.action for change in restored} == {"restored"}
    assert [type(module) for module in model.modules()] == before[3]
    assert (repr(model), list(model.state_dict())) == (before[0], before[2])
    assert torch.equal(model(x), before[1])
    assert copied or all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert restore_padding(model) == ()
    emulate_same_padding(model)
    assert model(x[..., :50, :]).shape == model(x)[..., :2, :].shape, "a fold must not come back"


def test_hooks_and_references_stay():
    """Layers remain the same objects: hooks fire and a shared layer stays shared."""
    model = network()
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    emulate_same_padding(model)
    model(torch.randn(1, 3, 40, 40, dtype=torch.float64))

    assert calls == [1]
    assert model[2][0] is model[2][2]


def test_exclude_and_include_choose_by_name():
    """`exclude` unlists; `include` looks at nothing else; a shared layer has two names."""
    names = lambda **arguments: [c.name for c in emulate_same_padding(network(), **arguments)]  # noqa: E731

    assert names(exclude=["2.*", "3"]) == ["0", "4", "6", "7"]
    assert names(include=["2.2", "6"]) == ["2.0", "6"]
    assert names(include=["2.*"], exclude=["2.0"]) == []


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_a_pattern_that_names_nothing_is_refused(argument):
    """A typing error in a pattern is an error, and nothing is rewritten."""
    model = network()
    with pytest.raises(SamePaddingError, match="pattern 'stem' names no convolution") as refused:
        emulate_same_padding(model, **{argument: ["stem"]})
    assert refused.value.code == "same-padding/unmatched-pattern"
    assert type(model[0]) is nn.Conv2d


def test_a_scripted_model_is_refused():
    """A compiled graph cannot be rewritten, which is said rather than ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated but still met
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1)))
    with pytest.raises(SamePaddingError) as refused:
        emulate_same_padding(scripted)
    assert refused.value.code == "same-padding/scripted-model"


def test_state_dicts_are_those_of_torch():
    """Names, shapes and initial values are those of the torch layer of the same arguments."""
    torch.manual_seed(1)
    ours = Conv2dSame(4, 8, (3, 5), 2, 1, 2).state_dict()
    torch.manual_seed(1)
    theirs = nn.Conv2d(4, 8, (3, 5), 2, 0, 1, 2).state_dict()

    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not MaxPool2dSame(3).state_dict()
    assert not AvgPool2dSame(3).state_dict()
