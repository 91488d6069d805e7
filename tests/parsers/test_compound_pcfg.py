"""The Compound PCFG: its bound, its posterior, its training and its trees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import sentences
from torch.distributions import Normal, kl_divergence

import parsers
from parsers import CompoundPCFG, CompoundPCFGOptions
from parsers.pcfg import inside
from parsers.pcfg.compound_pcfg import CompoundTask, loss
from parsers.pcfg.network import CompoundNetwork, GrammarNetwork, Posterior, divergence
from parsers.text_task import Text
from parsers.training import NonFiniteError, TrainingConfig

WORDS = sentences(60)
OPTIONS = CompoundPCFGOptions(
    nonterminals=3, preterminals=5, width=12, latent=3, encoder=6, sentences=8, held_out=0.1
)  # fmt: skip
TRAINING = TrainingConfig(
    epochs=8, learning_rate=0.02, schedule="constant", warmup=0.0, weight_decay=0.0, betas=(0.75, 0.999), clip=3.0
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("compound") / "run"
    return CompoundPCFG.fit(WORDS, folder=folder, options=OPTIONS, training=TRAINING, device="cpu")


def network(latent: int = 3) -> CompoundNetwork:
    torch.manual_seed(0)
    return CompoundNetwork(GrammarNetwork(3, 4, 8, 9, latent), Posterior(9, 5, latent)).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Return padded words, which stand in no sentence, and lengths."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([6, 2, 4])
    ids = torch.randint(4, 9, (3, 6), generator=generator)
    return ids * (torch.arange(6) < lengths[:, None]), lengths


def test_divergence() -> None:
    """KL is torch's, and 0 for the standard normal only."""
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 5, 4, dtype=torch.float64, generator=generator)
    zeros = torch.zeros_like(mean)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(zeros, zeros + 1)).sum(-1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)
    assert divergence(zeros, zeros).tolist() == [0.0] * 5
    assert (divergence(mean, zeros) > 0).all()
    assert (divergence(zeros, log_variance) > 0).all()


def test_without_the_vector() -> None:
    """With zero columns for the vector, it is the Neural PCFG of the other weights, and the vector has no gradient."""
    grammar = network().grammar
    plain = GrammarNetwork(3, 4, 8, 9).double()
    maps = (grammar.root_map.first, grammar.rule_map, grammar.word_map.first)
    with torch.no_grad():
        for part in maps:
            part.map.weight[:, part.inputs :] = 0
    weights = {
        name: value[:, :8] if name.endswith("map.weight") else value for name, value in grammar.state_dict().items()
    }
    plain.load_state_dict(weights)
    ids, lengths = batch()
    latent = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    found = inside.log_partition(*grammar(ids, latent), lengths)
    torch.testing.assert_close(found, inside.log_partition(*plain(ids), lengths))
    assert not torch.autograd.grad(found.sum(), latent)[0].any()


def test_padding() -> None:
    """The guess and the scores of a sentence do not depend on what it is padded with."""
    model = network()
    ids, lengths = batch()
    mean, log_variance = model.posterior(ids, lengths)
    other, _ = model.posterior(torch.where(ids == 0, 7, ids), lengths)
    torch.testing.assert_close(mean, other)
    together = inside.log_partition(*model.grammar(ids, mean), lengths)
    for row, n in enumerate(lengths.tolist()):
        own_mean, own_variance = model.posterior(ids[row : row + 1, :n], lengths[row : row + 1])
        torch.testing.assert_close(own_mean[0], mean[row])
        torch.testing.assert_close(own_variance[0], log_variance[row])
        alone = inside.log_partition(*model.grammar(ids[row : row + 1, :n], own_mean), lengths[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


def test_gradients_reach_all() -> None:
    """Every weight of the grammar and of the guess has a gradient, that of differences."""
    model = network()
    ids, lengths = batch()

    def total() -> torch.Tensor:
        torch.manual_seed(3)
        return loss(model, ids, lengths).sum()

    total().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        assert weight.grad.any(), name
        place = int(weight.grad.abs().argmax())
        with torch.no_grad():
            weight.view(-1)[place] += 1e-5
            above = total()
            weight.view(-1)[place] -= 2e-5
            below = total()
            weight.view(-1)[place] += 1e-5
        assert weight.grad.view(-1)[place].item() == pytest.approx((above - below).item() / 2e-5, rel=1e-4), name


def test_bound_by_importance() -> None:
    """With more samples the bound on log p rises; with one it is the trained one in expectation."""
    model = network()
    ids, lengths = batch()
    ids, lengths = ids[2:, :4], lengths[2:]
    with torch.no_grad():
        for part in (model.grammar.root_map.first, model.grammar.rule_map, model.grammar.word_map.first):
            part.map.weight[:, part.inputs :] *= 4  # so that vectors matter
        mean, log_variance = model.posterior(ids, lengths)
        count = 4096
        torch.manual_seed(5)
        deviation = (0.5 * log_variance).exp()
        latent = mean + deviation * torch.randn(count, 3, dtype=torch.float64)
        scores = model.grammar(ids.expand(count, -1), latent)
        likelihood = inside.log_partition(*scores, lengths.expand(count))
        prior = Normal(torch.zeros(3, dtype=torch.float64), 1.0).log_prob(latent).sum(-1)
        weights = likelihood + prior - Normal(mean, deviation).log_prob(latent).sum(-1)
        bounds = [
            (weights.view(-1, k).logsumexp(-1) - torch.tensor(float(k)).log()).mean().item() for k in (1, 4, 64, 4096)
        ]
        trained = -torch.stack([loss(model, ids.expand(count, -1), lengths.expand(count)).mean() for _ in range(2)])
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0] + 0.01
    error = 4 * weights.std().item() / count**0.5
    assert abs(trained.mean().item() - bounds[0]) < error


def test_learns(trained: Any, tmp_path: Path) -> None:
    """The bound on held-out sentences rises; a saved teacher parses as before, in batches or alone."""
    held = [-entry["scores"]["score"] for entry in trained.result.history]
    assert min(held) < 0.75 * held[0]
    assert min(entry["scores"]["perplexity"] for entry in trained.result.history) < 6
    new = [*sentences(20, seed=9), ["unseen"] * 6, ["the", "dog"], ["the"], []]
    trained.save(tmp_path / "model")
    again = parsers.load(tmp_path / "model")
    assert isinstance(again, CompoundPCFG)
    for decode in ("viterbi", "mbr"):
        before = trained.parse(new, device="cpu", decode=decode)
        after = again.parse(new, device="cpu", decode=decode, batch_tokens=1)
        assert [tree.spans for tree in before] == [tree.spans for tree in after]
    for own, words in zip(trained.span_scores(new, device="cpu"), new, strict=True):
        assert own.sum() == pytest.approx(max(len(words) - 1, 0), abs=1e-4)


def test_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples included, a resumed training ends with the same weights."""
    short = TrainingConfig(**{**vars(TRAINING), "epochs": 2})

    def fit(name: str, resume: bool = False) -> Any:
        folder = tmp_path / name
        return CompoundPCFG.fit(
            WORDS, folder=folder, options=OPTIONS, training=short, device="cpu", resume=resume
        )  # fmt: skip

    whole, original, count = fit("whole"), CompoundTask.evaluate, []

    def stopping(self: CompoundTask) -> Any:
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(CompoundTask, "evaluate", stopping)
        with pytest.raises(KeyboardInterrupt):
            fit("parts")
    parts = fit("parts", resume=True)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_loss_in_parts() -> None:
    """A large batch is computed in parts."""
    ids, lengths = batch()
    many, longest = ids.repeat(20, 1), lengths.repeat(20)
    task = CompoundTask(network(), None, Text.of(WORDS, OPTIONS, 0), OPTIONS)  # type: ignore[arg-type]
    torch.manual_seed(0)
    found = task.loss_of(many, longest)
    assert found.shape == ()
    assert found.item() / 60 == pytest.approx(loss(network(), ids, lengths).mean().item(), rel=0.2)


def test_diverging(tmp_path: Path) -> None:
    """A loss that is no number stops the training."""
    training = TrainingConfig(epochs=3, learning_rate=1e30, warmup=0.0, clip=0.0)
    with pytest.raises(NonFiniteError, match="finite"):
        CompoundPCFG.fit(WORDS, folder=tmp_path / "run", options=OPTIONS, training=training, device="cpu")


def test_presets() -> None:
    """The paper's numbers."""
    options, training = CompoundPCFGOptions.presets()["paper"]
    assert (options.latent, options.encoder, options.sentences, options.decode) == (64, 512, 4, "viterbi")
    assert (training.epochs, training.betas, training.clip) == (10, (0.75, 0.999), 3.0)
