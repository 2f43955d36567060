from __future__ import annotations

import torch

from adaptiveclick_med.export.graph import ExportableNetwork, example_input
from adaptiveclick_med.networks import ClickNetwork


def test_an_example_looks_like_a_session() -> None:
    x = example_input((48, 64), 3)
    assert x.shape == (3, 6, 48, 64) and x.dtype == torch.float32
    assert float(x[:, :4].min()) >= 0 and float(x[:, :4].max()) <= 1 and float(x[:, :3].std()) > 0.1
    assert set(x[:, 4:].unique().tolist()) == {0.0, 1.0}
    assert [bool(each.any()) for each in x[:, 3]] == [False, True, False]
    assert [bool(each.any()) for each in x[:, 4]] == [True, True, True]
    assert [bool(each.any()) for each in x[:, 5]] == [False, True, False]


def test_examples_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = example_input((16, 16), seed=3)
    torch.manual_seed(2)
    assert torch.equal(example_input((16, 16), seed=3), first)
    assert not torch.equal(example_input((16, 16), seed=4), first)


def test_the_network_is_not_changed(network: ClickNetwork) -> None:
    network.requires_grad_(True)
    exportable = ExportableNetwork(network)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(parameter.requires_grad for parameter in exportable.parameters())
    x = example_input((64, 64))
    with torch.no_grad():
        logits, masks, clicks = exportable(x)
        expected = network.predict(x)
    torch.testing.assert_close(logits, expected.logits)
    assert expected.mask_logits is not None and expected.click_logits is not None
    torch.testing.assert_close(masks, expected.mask_logits)
    torch.testing.assert_close(clicks, expected.click_logits)
