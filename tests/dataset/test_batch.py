"""A batch serves both models: two small networks learn it by heart from its views alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vall_e.dataset import Batch, Dataset
from vall_e.types import UsageError

COUNT, SIZE, LEVELS, WIDTH = 4, 64, 4, 48


@pytest.fixture(scope="module")
def batch(built: Path) -> Batch:
    dataset = Dataset(built, prompt_frames=10)
    return dataset.collate([dataset[place] for place in range(COUNT)])


def test_views_follow_their_definition(batch: Batch) -> None:
    inputs, targets = batch.ar()
    most = batch.target.shape[2]
    assert inputs.shape == targets.shape == (COUNT, most + 1)
    for row, length in enumerate(batch.target_lengths.tolist()):
        codes = batch.target[row, 0, :length].tolist()
        assert inputs[row].tolist() == [SIZE, *codes] + [0] * (most - length)
        assert targets[row].tolist() == [*codes, SIZE] + [-100] * (most - length)
        for level in range(1, LEVELS):
            inputs_below, codes_at = batch.nar(level)
            assert torch.equal(inputs_below, batch.target[:, :level])
            assert codes_at[row].tolist() == batch.target[row, level, :length].tolist() + [-100] * (most - length)
    assert len(set(batch.target_lengths.tolist())) > 1, "there is padding to look at"
    for level in (0, LEVELS):
        with pytest.raises(UsageError, match=r"1\.\.3"):
            batch.nar(level)


def test_a_batch_moves_whole(batch: Batch) -> None:
    moved = batch.to("meta")
    assert moved.ids == batch.ids
    assert {moved.target.device.type, moved.tasks.device.type, moved.ar().targets.device.type} == {"meta"}


class Reader(nn.Module):
    """Mean of the text and of the prompt's levels, without their padding: [B,WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.text = nn.Embedding(100, WIDTH)
        self.prompt = nn.ModuleList(nn.Embedding(SIZE, WIDTH) for _ in range(LEVELS))

    def forward(self, batch: Batch) -> torch.Tensor:
        places = torch.arange(batch.prompt.shape[2])
        mask = (places < batch.prompt_lengths[:, None])[..., None]
        prompt = sum(table(batch.prompt[:, level]) for level, table in enumerate(self.prompt))
        mean = (prompt * mask).sum(1) / batch.prompt_lengths.clamp(min=1)[:, None]
        words = torch.arange(batch.text.shape[1]) < batch.text_lengths[:, None]
        return mean + (self.text(batch.text) * words[..., None]).sum(1) / batch.text_lengths[:, None]


class SmallAR(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reader, self.codes = Reader(), nn.Embedding(SIZE + 1, WIDTH)
        self.rnn, self.out = nn.GRU(WIDTH, 2 * WIDTH, batch_first=True), nn.Linear(2 * WIDTH, SIZE + 1)

    def forward(self, batch: Batch, inputs: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(self.codes(inputs) + self.reader(batch)[:, None])[0])


class SmallNAR(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reader, self.level = Reader(), nn.Embedding(LEVELS, WIDTH)
        self.codes = nn.ModuleList(nn.Embedding(SIZE, WIDTH) for _ in range(LEVELS))
        self.rnn = nn.GRU(WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * WIDTH, SIZE)

    def forward(self, batch: Batch, inputs: torch.Tensor) -> torch.Tensor:
        level = inputs.shape[1]
        below = sum(table(inputs[:, n]) for n, table in enumerate(self.codes) if n < level)
        hidden = below + (self.reader(batch) + self.level.weight[level])[:, None]
        return self.out(self.rnn(hidden)[0])


def learn(model: Any, batch: Batch, views: Any, steps: Any) -> Any:
    """(first loss, last loss, share of right answers at the end), over all views."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses_of = [F.cross_entropy(model(batch, x).transpose(1, 2), y, ignore_index=-100) for x, y in views]
        loss = torch.stack(losses_of).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / len(views))
    right = [(model(batch, x).argmax(-1) == y)[y != -100] for x, y in views]
    return losses[0], losses[-1], torch.cat(right).float().mean().item()


def check_learned(first: Any, last: Any, right: Any) -> Any:
    assert first > 3.5, "nothing is known at first: ln 64 is 4.2"
    assert last < 0.3
    assert right > 0.95


def test_the_autoregressive_model_learns_the_batch_by_heart_and_says_it_back(batch: Batch) -> None:
    """From the boundary id on, greedy decoding with what the view taught gives level 0 and stops by itself."""
    torch.manual_seed(0)
    model = SmallAR()
    check_learned(*learn(model, batch, [batch.ar()], steps=60))
    said = torch.full((COUNT, 1), SIZE)
    for _ in range(batch.target.shape[2] + 1):
        said = torch.cat([said, model(batch, said)[:, -1:].argmax(-1)], dim=1)
    for row, length in enumerate(batch.target_lengths.tolist()):
        assert said[row, 1 : length + 2].tolist() == [*batch.target[row, 0, :length].tolist(), SIZE]


def test_the_non_autoregressive_model_learns_every_level_by_heart(batch: Batch) -> None:
    torch.manual_seed(0)
    check_learned(*learn(SmallNAR(), batch, [batch.nar(level) for level in range(1, LEVELS)], steps=40))
