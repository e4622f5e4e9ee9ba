"""Networks over sequences: the paper's equations, torch's packed sequences, padding counts for nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from voxlake.core.errors import SettingsError, UsageError
from voxlake.networks.recurrent import RecurrentSettings, build_recurrent
from voxlake.networks.registry import build, read_settings
from voxlake.networks.slices import SlicesSettings

POOLINGS = ["last", "mean", "max", "attention"]


def _vectors(seed=0, *, shape=(4, 7, 5)):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _recurrent(outputs=3, features=5, seed=0, **values):
    return build(
        "recurrent", RecurrentSettings(**values), in_channels=features, outputs=outputs, shape=(7,), seed=seed
    )


def _slices(seed=0, *, encoder=None, features=6, shape=(5, 8, 8), **recurrence):
    table = {"name": "cnn", "blocks": [4]} | (encoder or {})
    values = SlicesSettings.read({"encoder": table, "features": features, "recurrence": recurrence})
    return build("slices", values, in_channels=1, outputs=3, shape=shape, seed=seed)


def test_the_gated_unit_is_that_of_the_paper():
    network = _recurrent(hidden=4, steps="each")
    layer, head = network.recurrence.onward[0], network.head
    x = _vectors(shape=(1, 6, 5))
    state, expected = torch.zeros(4), []
    for step in x[0]:
        of_input = layer.weight_ih_l0 @ step + layer.bias_ih_l0
        of_state = layer.weight_hh_l0 @ state + layer.bias_hh_l0
        reset = torch.sigmoid(of_input[:4] + of_state[:4])
        update = torch.sigmoid(of_input[4:8] + of_state[4:8])
        new = torch.tanh(of_input[8:] + reset * of_state[8:])
        state = (1 - update) * new + update * state
        expected.append(head.weight @ state + head.bias)
    torch.testing.assert_close(network(x, torch.tensor([6]))[0], torch.stack(expected))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_ragged_sequences_give_what_packed_sequences_of_torch_give(cell, layers, bidirectional):
    network = _recurrent(cell=cell, layers=layers, bidirectional=bidirectional, hidden=4, steps="each")
    kind = nn.GRU if cell == "gru" else nn.LSTM
    oracle = kind(5, 4, layers, batch_first=True, bidirectional=bidirectional)
    ours = {
        f"{name[:-1]}{number}{suffix}": tensor
        for parts, suffix in [(network.recurrence.onward, ""), (network.recurrence.back, "_reverse")]
        for number, layer in enumerate(parts)
        for name, tensor in layer.state_dict().items()
    }
    oracle.load_state_dict(ours)
    x, lengths = _vectors(), torch.tensor([3, 7, 1, 5])
    packed, last = oracle(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    states, _ = pad_packed_sequence(packed, batch_first=True, total_length=7)
    inside = (torch.arange(7) < lengths[:, None])[..., None]
    torch.testing.assert_close(network(x, lengths), network.head(states) * inside)

    network.each, network.pooling = False, _recurrent(bidirectional=bidirectional, hidden=4).pooling
    last = last[0] if cell == "lstm" else last
    ends = torch.cat([last[-2], last[-1]], dim=1) if bidirectional else last[-1]
    torch.testing.assert_close(network.encode(x, lengths), ends)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_over_the_steps_of_the_sequence(pooling):
    network = _recurrent(cell="none", hidden=4, pooling=pooling, seed=3)
    x, lengths = _vectors(), torch.tensor([3, 7, 1, 5])
    pooled = network.encode(x, lengths)
    for row, length in enumerate(lengths):
        states = network.recurrence.onward[0](x[row, :length])
        expected = {
            "last": lambda states=states: states[-1],
            "mean": lambda states=states: states.mean(dim=0),
            "max": lambda states=states: states.amax(dim=0),
            "attention": lambda states=states: (network.pooling.score(states).softmax(dim=0) * states).sum(
                dim=0
            ),
        }
        torch.testing.assert_close(pooled[row], expected[pooling]())
    torch.testing.assert_close(network(x, lengths), network.head(pooled))


def _answers(network, x, lengths, seed):
    """Answers, gradients of the parameters and statistics after one step in training."""
    network.load_state_dict(network.first)
    network.zero_grad()
    torch.manual_seed(seed)
    answers = network(x, lengths)
    weights = torch.linspace(-1, 1, answers.shape[-1])
    torch.autograd.backward((answers * weights).sum())
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    return (
        answers.detach(),
        gradients,
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
    )


def _same_however_padded(network, x, lengths, *, seed, garbage):
    """Train on sequences padded with zeros, and on the same padded further and with anything."""
    network.first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inside = torch.arange(x.shape[1]) < lengths[:, None]
    longer = torch.cat([x, x.new_zeros(len(x), 3, *x.shape[2:])], dim=1)
    beyond = ~torch.cat([inside, inside.new_zeros(len(x), 3)], dim=1)
    longer[beyond] = garbage
    answers, gradients, statistics = _answers(network, x, lengths, seed)
    others, other_gradients, other_statistics = _answers(network, longer, lengths, seed)
    if answers.ndim == 3:
        assert not others[beyond].any()
        others = others[:, : x.shape[1]]
    assert torch.isfinite(answers).all()
    torch.testing.assert_close(others, answers)
    torch.testing.assert_close(other_gradients, gradients, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other_statistics, statistics)


_recurrences = st.fixed_dictionaries(
    {
        "cell": st.sampled_from(["gru", "lstm", "none"]),
        "hidden": st.integers(1, 5),
        "layers": st.integers(1, 3),
        "dropout": st.sampled_from([0.0, 0.5]),
        "pooling": st.sampled_from(POOLINGS),
        "steps": st.sampled_from(["one", "each"]),
    }
).flatmap(
    lambda values: st.booleans().map(
        lambda both: values | {"bidirectional": both and values["cell"] != "none"}
    )
)
_lengths = st.lists(st.integers(1, 6), min_size=2, max_size=4)
_garbage = st.sampled_from([0.0, -3.0, 1e30, float("nan"), float("inf")])


@settings(max_examples=40, deadline=None)
@given(recurrence=_recurrences, lengths=_lengths, garbage=_garbage, seed=st.integers(0, 99))
def test_padding_of_vectors_changes_nothing_not_even_in_training(recurrence, lengths, garbage, seed):
    x = _vectors(seed, shape=(len(lengths), max(lengths), 5))
    network = _recurrent(seed=seed, **recurrence)
    _same_however_padded(network, x, torch.tensor(lengths), seed=seed, garbage=garbage)


@settings(max_examples=15, deadline=None)
@given(
    recurrence=_recurrences,
    normalisation=st.sampled_from(["batch", "instance", "none"]),
    lengths=_lengths,
    garbage=_garbage,
    seed=st.integers(0, 99),
)
def test_padding_of_slices_changes_nothing_not_even_statistics_of_the_batch(
    recurrence, normalisation, lengths, garbage, seed
):
    x = _vectors(seed, shape=(len(lengths), max(lengths), 1, 8, 8))
    network = _slices(seed, encoder={"normalisation": normalisation, "dropout": 0.3}, **recurrence)
    _same_however_padded(network, x, torch.tensor(lengths), seed=seed, garbage=garbage)


@settings(max_examples=15, deadline=None)
@given(lengths=_lengths, seed=st.integers(0, 99), steps=st.sampled_from(["one", "each"]))
def test_each_sequence_alone_gives_what_it_gives_among_others(lengths, seed, steps):
    network = _slices(seed, bidirectional=True, hidden=4, steps=steps).eval()
    x = _vectors(seed, shape=(len(lengths), max(lengths), 1, 8, 8))
    together = network(x, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = network(x[row : row + 1, :length], torch.tensor([length]))[0]
        torch.testing.assert_close(together[row, :length] if steps == "each" else together[row], alone)


def test_recurrence_sees_the_order_and_without_it_no_step_sees_another():
    x, lengths = _vectors(shape=(1, 6, 5)), torch.tensor([6])
    turned = x.flip(1)
    alone = _recurrent(cell="none", steps="each")
    torch.testing.assert_close(alone(turned, lengths), alone(x, lengths).flip(1))
    mean = _recurrent(cell="none", pooling="mean")
    torch.testing.assert_close(mean(turned, lengths), mean(x, lengths))
    along = _recurrent(steps="each")
    assert (along(turned, lengths) - along(x, lengths).flip(1)).abs().max() > 0.01

    changed = x.clone()
    changed[:, 3] += 1
    differs = (along(changed, lengths) - along(x, lengths)).abs().amax(dim=(0, 2)) > 0
    assert differs.tolist() == [False] * 3 + [True] * 3
    both = _recurrent(steps="each", bidirectional=True)
    assert ((both(changed, lengths) - both(x, lengths)).abs().amax(dim=(0, 2)) > 0).all()


def test_time_points_of_volumes_and_any_registered_encoder():
    network = _slices(encoder={"dimensions": 3}, shape=(2, 4, 6, 8), steps="each")
    assert network(torch.randn(2, 3, 1, 4, 6, 8), torch.tensor([3, 1])).shape == (2, 3, 3)
    assert network.encode(torch.randn(2, 3, 1, 4, 6, 8), torch.tensor([3, 1])).shape == (2, 64)


def test_settings_of_the_encoder_are_filled_in_and_read_back():
    values = SlicesSettings.read({"encoder": {"name": "cnn", "blocks": [4]}})
    assert values.encoder["blocks"] == [4]
    assert values.encoder["activation"] == "relu"
    assert SlicesSettings.read(values.model_dump(mode="json")) == values
    assert SlicesSettings().encoder["name"] == "cnn"


# torch warns of its own recurrent layers, which list their weights anew while they are exported
@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights.* were assigned during export")
@pytest.mark.slow
def test_an_exported_graph_gives_the_same():
    network = _slices(bidirectional=True, hidden=4, pooling="attention").eval()
    x, lengths = _vectors(shape=(2, 5, 1, 8, 8)), torch.tensor([5, 2])
    exported = torch.export.export(network, (x, lengths)).module()
    lengths = torch.tensor([3, 4])
    torch.testing.assert_close(exported(x, lengths), network(x, lengths))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("recurrent", {"cell": "none", "bidirectional": True}, "no direction"),
        ("recurrent", {"cel": "gru"}, "did you mean 'cell'"),
        ("recurrent", {"pooling": "median"}, "attention"),
        ("slices", {"recurrence": {"hiden": 4}}, "did you mean 'hidden'"),
        ("slices", {"encoder": {"name": "cn"}}, "did you mean 'cnn'"),
        ("slices", {"encoder": {"name": "cnn", "block": [4]}}, "did you mean 'blocks'"),
        ("slices", {"encoder": {"blocks": [4]}}, "missing key 'name'"),
        ("slices", {"encoder": {"name": "mlp"}}, "takes table and gives vector"),
        ("slices", {"encoder": {"name": "slices"}}, "takes sequence"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name, values, message):
    with pytest.raises(SettingsError, match=message):
        read_settings(name, values)


def test_shapes_and_lengths_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match="take the network 'slices'"):
        build_recurrent(RecurrentSettings(), in_channels=1, outputs=2, shape=(5, 8, 8))
    with pytest.raises(SettingsError, match="take the network 'recurrent'"):
        _slices(shape=(5,))
    with pytest.raises(SettingsError, match="3 axes"):
        _slices(shape=(5, 8, 8, 8))
    for lengths, said in [([0, 3], "from 0 to 3"), ([2, 8], "from 2 to 8")]:
        with pytest.raises(UsageError, match=f"{said} for sequences padded to 7"):
            _recurrent()(_vectors(shape=(2, 7, 5)), torch.tensor(lengths))
