"""Distillation with the Hugging Face trainer: its loop, optimiser, checkpoints and processes; the losses are ours.

For each optimiser step the trainer collects its batches, has completions written for all of them at once, counts what
the step's loss divides by over batches and processes, and only then takes the batches one by one. So the loss does not
depend on how a step is split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer

from treeavg.distill.sequences.running import unwrapped
from treeavg.distill.sequences.sampling.generation import special_tokens
from treeavg.distill.sequences.training.collate import COLUMNS, Collator, completions_of
from treeavg.distill.sequences.training.config import DistillationConfig, Part
from treeavg.distill.sequences.training.objective import Objective, items
from treeavg.distill.sequences.training.requirements import (
    named,
    probe,
    require_arguments,
    require_same,
    teachers_of,
    vocabulary_size,
)
from treeavg.distill.sequences.training.writing import chance, generator_of, write
from treeavg.errors import ArgumentError

__all__ = ["DistillationTrainer"]

_MAPS, _CONFIG = "distillation_maps.safetensors", "distillation.json"


@dataclass(frozen=True)
class _Window:
    """What is common to the batches of a step: whose completions, what their losses divide by, over which processes."""

    parts: tuple[Part, ...]
    counts: dict[str, Tensor]
    world_size: int
    name: str


class DistillationTrainer(Trainer):
    """Trains a student, causal or encoder-decoder, on one or several teachers.

    It is `transformers.Trainer` with its arguments, callbacks, checkpoints and processes; what is ours is the loss, who
    writes completions, and how a step's tokens are counted.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        The student.
    config : DistillationConfig, optional
        What it learns; see also `presets.PRESETS`. Default: Jensen-Shannon on stored and on fresh completions.
    args : transformers.TrainingArguments
        Of the training: batches, learning rate, checkpoints.
    train_dataset : dataset
        Rows as in `collate.COLUMNS`: ``{"prompt": ids, "completion": ids}``.
    teachers : model, sequence of models, or "base"
        Who teaches: frozen, in evaluation mode, never part of the student. "base" is the student without its adapters.
        Default: none, for stored completions alone.
    teacher_weights : sequence of float, optional
        One for each teacher. Default: equal.
    eval_dataset : dataset, optional
        Likewise; the evaluation loss is this loss, with fixed random numbers, over all rows.
    processing_class : tokenizer, optional
        The student's tokenizer: saved with it, and compared with the teachers'.
    teacher_tokenizers : tokenizer or sequence of tokenizers, optional
        Those of the teachers: needed where heads have different numbers of columns, compared wherever given.
    eos_ids : sequence of int, optional
        The end tokens. Default: the student's.
    callbacks : sequence of transformers.TrainerCallback, optional
        As for the Trainer.
    optimizers : tuple, optional
        As for the Trainer.

    Raises
    ------
    ArgumentError
        Vocabularies that differ, teachers that do not fit, or arguments that would not be honoured. While training: a
        loss that is NaN or infinite; it names the step.

    Notes
    -----
    Random numbers of sampling depend on the configuration's seed, the step and the process, so that a training that
    was resumed ends with the same weights. Logged beside the loss: ``truncated``, the share of completions without an
    end token; ``on_policy``, the share that the student wrote; ``completion_tokens``, their mean length. Gradients of
    maps between hidden states are not part of the clipped norm. With several processes the last rows of an evaluation
    may count twice, as the processes take equally many.

    References
    ----------
    [Wen et al., ACL 2023]; [Agarwal et al., ICLR 2024].

    Examples
    --------
    >>> trainer = DistillationTrainer(  # doctest: +SKIP
    ...     student, DistillationConfig(kind="tvd"), args=args, train_dataset=rows, teachers=teacher
    ... )
    >>> trainer.train()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        config: DistillationConfig | None = None,
        *,
        args: Any,
        train_dataset: Any = None,
        teachers: nn.Module | Sequence[nn.Module] | str = (),
        teacher_weights: Sequence[float] | None = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        teacher_tokenizers: Any = None,
        eos_ids: Sequence[int] | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        require_arguments(args)
        self.distillation = DistillationConfig() if config is None else config
        self.teachers = teachers_of(model, teachers, self.distillation, teacher_weights)
        self._side = "right" if unwrapped(model).config.is_encoder_decoder else "left"
        self._special = special_tokens(model, eos_ids, None)
        self.match: Any = None
        collator = Collator(
            self._special.eos_ids,
            pad=self._special.pad,
            side=self._side,
            needs_completions=self.distillation.needs_completions,
        )
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=None if callbacks is None else list(callbacks),
            optimizers=optimizers,
        )
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True  # we divide by the whole step's count
        self.teachers.to(args.device)
        own, others, self.match = probe(
            model, self.teachers, self.distillation, self._special, side=self._side, device=args.device
        )
        size = vocabulary_size(own, others, processing_class, teacher_tokenizers)
        self.objective: Objective = Objective(self.distillation, self.teachers, size, self.match)
        self._window: _Window | None = None
        self._wide = torch.float32 if args.device.type == "mps" else torch.float64
        self._tally = torch.zeros(4, dtype=self._wide, device=args.device)
        self._evaluated: dict[str, Tensor] = {}
        self._evaluated_batches = 0

    # ---- The step ----

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: Any = None
    ) -> tuple[list[dict[str, Tensor]], Tensor | None]:
        """Return the batches of a step, with completions written, and the number of tokens that its loss divides by."""
        batches = [self._prepare_inputs(batch) for batch in islice(epoch_iterator, num_batches)]
        if not batches:
            return batches, None
        if self.match is not None:
            self.match.zero_grad()
        config, step = self.distillation, self.state.global_step
        heads = chance(config.seed, "coin", step) < config.share if config.who == "coin" else None
        with named(f"step {step + 1}"):
            self._window = self._prepared(batches, config.parts(heads), "train", step)
        return batches, sum(self._window.counts.values(), torch.zeros((), device=self.args.device))

    def _prepared(self, batches: list[dict[str, Tensor]], parts: tuple[Part, ...], stream: str, step: int) -> _Window:
        """Have completions written, and count."""
        config = self.distillation
        for part in parts:
            if part.source == "data":
                continue
            generator = generator_of(config.seed, stream, part.source, step, self.args.process_index)
            options: dict[str, Any] = {"side": self._side, "generator": generator}
            fixed = (part.source, batches, config, self._special, self.objective.size)
            if part.source == "student":
                write(self.model, *fixed, **options)
            else:
                with self.teachers.running() as teacher:
                    write(teacher, *fixed, **options)
        counts = {part.source: self._count(batches, part.source) for part in parts}
        counts["prompt"] = sum(
            (items(batch["attention_mask"].bool(), config.reduction) for batch in batches),
            torch.zeros((), dtype=torch.int64, device=self.args.device),
        )
        if stream == "train":
            self._note(batches, parts)
            every = self.accelerator.reduce(torch.stack(list(counts.values())), "sum")
            counts = dict(zip(counts, every, strict=True))
        return _Window(parts, counts, self.accelerator.num_processes, f"step {step + 1}")

    def _count(self, batches: list[dict[str, Tensor]], source: str) -> Tensor:
        drop = self.distillation.drop_truncated
        masks = [completions_of(batch, source, drop_truncated=drop).mask for batch in batches]
        return torch.stack([items(mask, self.distillation.reduction) for mask in masks]).sum()

    def _note(self, batches: list[dict[str, Tensor]], parts: tuple[Part, ...]) -> None:
        """Add to what is logged: completions, truncated ones, the student's, tokens."""
        for part in parts:
            for batch in batches:
                found = completions_of(batch, part.source)
                rows = len(found.ids)
                noted = (rows, found.truncated.sum(), rows * (part.source == "student"), found.mask.sum())
                self._tally += torch.stack([torch.as_tensor(one, device=self._tally.device) for one in noted])

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Any = None) -> Tensor:
        """Return the loss of a batch, after its backward pass."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.match is not None and self.accelerator.num_processes > 1 and self.accelerator.sync_gradients:
            for weight in self.match.parameters():  # no part of the wrapped student
                weight.grad = self.accelerator.reduce(weight.grad, "mean")
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the part of the step's loss that a batch has."""
        assert self._window is not None
        window = self._window
        with named(window.name):
            losses = [
                loss
                for part in window.parts
                for loss in self.objective.losses(model, inputs, part, window.counts, window.world_size).values()
            ]
            loss = torch.stack(losses).sum()
            if not bool(loss.detach().isfinite()):
                raise ArgumentError(
                    f"loss: expected a finite number, got {loss.item()}. Look for NaN in the weights of student and "
                    "teachers; lower the learning rate, or train in float32 or bfloat16."
                )
        return (loss, {}) if return_outputs else loss

    # ---- Evaluation ----

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, None, None]:
        """Return the loss of a batch of an evaluation, and add it to the whole evaluation's."""
        batch = self._prepare_inputs(inputs)
        self._evaluated_batches += 1
        with torch.no_grad(), named(f"batch {self._evaluated_batches} of the evaluation"):
            window = self._prepared([batch], self.distillation.parts(), "evaluation", self._evaluated_batches)
            ones = {name: torch.ones_like(count) for name, count in window.counts.items()}
            total = torch.zeros((), device=self.args.device)
            for part in window.parts:
                for name, loss in self.objective.losses(model, batch, part, ones, 1).items():
                    pair = torch.stack([loss.to(self._wide), window.counts[name].to(self._wide)])
                    key = f"{part.source} {name}"
                    self._evaluated[key] = self._evaluated[key] + pair if key in self._evaluated else pair
                    total = total + loss / window.counts[name].clamp(min=1)
        return total, None, None

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Evaluate; the loss divides by the counts of all batches, whatever their size."""
        self._evaluated, self._evaluated_batches = {}, 0
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if self._evaluated and output.metrics is not None:
            pairs = self.accelerator.reduce(torch.stack(list(self._evaluated.values())), "sum")
            output.metrics[f"{metric_key_prefix}_loss"] = float((pairs[:, 0] / pairs[:, 1].clamp(min=1)).sum())
        return output

    # ---- Log, optimiser, checkpoints ----

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with what is known of the completions since the last time."""
        if "loss" in logs:
            rows, truncated, own, tokens = self.accelerator.reduce(self._tally, "sum").tolist()
            self._tally.zero_()
            known = {"truncated": truncated, "on_policy": own, "completion_tokens": tokens}
            logs = {**logs, **{name: number / max(rows, 1) for name, number in known.items()}}
        super().log(logs, start_time)

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns: Any = list(COLUMNS)

    def create_optimizer(self, model: Any = None) -> Any:
        """Return the optimiser, which trains the maps between hidden states too."""
        optimizer = super().create_optimizer() if model is None else super().create_optimizer(model)
        if self.match is not None:
            known = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
            maps = [weight for weight in self.match.parameters() if id(weight) not in known]
            if maps:
                optimizer.add_param_group({"params": maps, "weight_decay": 0.0})
        return optimizer

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            text = json.dumps(self.distillation.document(), indent=2, sort_keys=True)
            (folder / _CONFIG).write_text(text + "\n", encoding="utf-8")
            if self.match is not None and len(self.match.maps):
                save_file(self.match.state_dict(), folder / _MAPS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        if (folder / _CONFIG).is_file():
            require_same(self.distillation, folder / _CONFIG)
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.match is not None and len(self.match.maps):
            self.match.load_state_dict(load_file(folder / _MAPS))
