"""Distillation with the Hugging Face trainer: its loop, optimiser, checkpoints and processes; the losses are ours.

For each optimiser step the trainer collects its batches, has completions written for all of them at once, counts what
the step's loss divides by over batches and processes, and only then takes the batches one by one. So the loss does not
depend on how a step is split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from treeavg.distill.sequences.running import unwrapped
from treeavg.distill.sequences.sampling.generation import special_tokens
from treeavg.distill.sequences.sampling.samplers import Sampler
from treeavg.distill.sequences.training.checkpoints import load_additions, save_additions
from treeavg.distill.sequences.training.collate import Collator
from treeavg.distill.sequences.training.config import DistillationConfig, Part
from treeavg.distill.sequences.training.copies import Followers, copies_of
from treeavg.distill.sequences.training.objective import Objective
from treeavg.distill.sequences.training.outputs import Evaluation, Outputs, metrics_of, outputs_of
from treeavg.distill.sequences.training.probing import limits_of, probe, vocabulary_size
from treeavg.distill.sequences.training.requirements import named, require_given, teachers_of
from treeavg.distill.sequences.training.routing import by_teacher, least_cross_entropy
from treeavg.distill.sequences.training.rows import COLUMNS, require_dataset
from treeavg.distill.sequences.training.window import Window, counted, noted
from treeavg.distill.sequences.training.writing import chance, generator_of, write
from treeavg.errors import ArgumentError, quote

__all__ = ["DistillationTrainer"]


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
    teachers : model, sequence of models, mapping from str to model, "base" or "ema"
        Who teaches: frozen, in evaluation mode, never part of the student. "base" is the student without its adapters,
        "ema" the moving average of the student. Default: none, for stored completions alone.
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
    compute_metrics : callable, optional
        In an evaluation the student writes an output for each row; this gets all of them as `outputs.Outputs` and
        returns numbers by name, which are logged as ``eval_...`` and may be the ``metric_for_best_model``.
    eval_sampler : Sampler, optional
        How those are written. Default: greedily, as long as in training.
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
    may count twice in its loss, as the processes take equally many; in `compute_metrics` each is there once. A
    checkpoint holds the options, maps and copies of the student too; options that differ are refused, other teachers
    are not noticed.

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
        teachers: nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module] | str | None = (),
        teacher_weights: Sequence[float] | None = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        teacher_tokenizers: Any = None,
        eos_ids: Sequence[int] | None = None,
        compute_metrics: Callable[[Outputs], Mapping[str, float]] | None = None,
        eval_sampler: Sampler | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        require_given(model, config, args)
        self.distillation = config = DistillationConfig() if config is None else config
        self.copies = copies_of(model, teachers, config)
        teachers = self.copies["teacher"].model if "teacher" in self.copies else teachers
        self.teachers = teachers_of(model, teachers, config, teacher_weights)
        self._compute, self._eval_sampler = compute_metrics, _eval_sampler(compute_metrics, eval_sampler, config, args)
        self._side = "right" if unwrapped(model).config.is_encoder_decoder else "left"
        self._special = special_tokens(model, eos_ids, None)
        self.match: Any = None
        collator = self._collator({"train_dataset": train_dataset, "eval_dataset": eval_dataset})
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
        size = self._placed(model, processing_class, teacher_tokenizers)
        collator.limits = limits_of(model, self.teachers, config, size)
        self.objective: Objective = Objective(config, self.teachers, size, self.match, self.accelerator.autocast)
        self._window: Window | None = None
        self._wide = torch.float32 if args.device.type == "mps" else torch.float64
        self._tally = torch.zeros(4, dtype=self._wide, device=args.device)
        self._evaluation = Evaluation(args.device, self._wide)

    def _collator(self, datasets: dict[str, Any]) -> Collator:
        """Return what makes batches of rows, after a look at the first of them."""
        config, chosen = self.distillation, self.distillation.average == "teacher_id"
        needed = ["prompt", *(["completion"] if config.needs_completions else []), *(["teacher_id"] if chosen else [])]
        for name, dataset in datasets.items():
            require_dataset(dataset, name, needed=needed, several=len(self.teachers) > 1 and not chosen)
        return Collator(
            self._special.eos_ids,
            pad=self._special.pad,
            side=self._side,
            needs_completions=config.needs_completions,
            teachers=self.teachers.names if chosen else None,
        )

    def _placed(self, model: nn.Module, student_tokenizer: Any, teacher_tokenizers: Any) -> int:
        """Bring all models to the device, and return the number of tokens that they share."""
        device = self.args.device
        self.teachers.to(device)
        for one in self.copies.values():
            one.model.to(device)
        if self.copies:
            self.add_callback(Followers(model, self.copies))
        fixed = (model, self.teachers, self.distillation, self._special)
        own, others, self.match = probe(*fixed, side=self._side, device=device)
        return vocabulary_size(own, others, student_tokenizer, teacher_tokenizers)

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

    def _prepared(self, batches: list[dict[str, Tensor]], parts: tuple[Part, ...], stream: str, step: int) -> Window:
        """Have completions written, and count."""
        if self.distillation.average == "min_ce":
            for batch in batches:
                batch["teacher"] = least_cross_entropy(self.teachers, batch, self.objective.size)
        for part in parts:
            if part.source != "data":
                self._write(part.source, batches, stream, step)
        counts = counted(batches, parts, self.distillation)
        if stream == "train":
            self._tally += noted(batches, parts).to(self._tally)
            every = self.accelerator.reduce(torch.stack(list(counts.values())), "sum")
            counts = dict(zip(counts, every, strict=True))
        return Window(parts, counts, self.accelerator.num_processes, f"step {step + 1}")

    def _write(self, source: str, batches: list[dict[str, Tensor]], stream: str, step: int) -> None:
        """Have completions written."""
        config, fixed = self.distillation, (self.distillation, self._special, self.objective.size)
        stem = (config.seed, stream, source, step, self.args.process_index)
        if source == "student":
            past = self.copies.get("writer") if stream == "train" else None
            writer = self.model if past is None else past.model
            generator = generator_of(*stem)
            write(writer, source, batches, *fixed, side=self._side, generator=generator, policy=self.model)
            return

        def by(place: int, rows: list[dict[str, Tensor]]) -> None:
            generator = generator_of(*stem, *([place] if place else []))
            with self.teachers.running(place) as teacher:
                write(teacher, source, rows, *fixed, side=self._side, generator=generator)

        if config.by_row:
            by_teacher(batches, len(self.teachers), self._special.pad, by)
        else:
            by(0, batches)

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
        batch, found = self._prepare_inputs(inputs), self._evaluation
        found.batches += 1
        with torch.no_grad(), named(f"batch {found.batches} of the evaluation"):
            window = self._prepared([batch], self.distillation.parts(), "evaluation", found.batches)
            ones = {name: torch.ones_like(count) for name, count in window.counts.items()}
            total = torch.zeros((), device=self.args.device)
            for part in window.parts:
                for name, loss in self.objective.losses(model, batch, part, ones, 1).items():
                    found.add(f"{part.source} {name}", loss, window.counts[name])
                    total = total + loss / window.counts[name].clamp(min=1)
            if self._compute is not None:
                generator = generator_of(self.distillation.seed, "outputs", found.batches, self.args.process_index)
                rows = outputs_of(self.model, batch, self._eval_sampler, self._special, generator)
                found.rows += self.accelerator.gather_for_metrics(rows)
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
        found = self._evaluation = Evaluation(self.args.device, self._wide)
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if found.batches and output.metrics is not None:
            pairs = self.accelerator.reduce(found.sums, "sum")
            output.metrics[f"{metric_key_prefix}_loss"] = float((pairs[:, 0] / pairs[:, 1].clamp(min=1)).sum())
            if self._compute is not None:
                output.metrics.update(metrics_of(self._compute, found.rows, metric_key_prefix))
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
        if self.args.should_save:  # ours first: what Trainer writes last tells that a checkpoint is whole
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            save_additions(folder, self.distillation, self.match, self.copies)
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_additions(Path(resume_from_checkpoint), self.distillation, self.match, self.copies)
        super()._load_from_checkpoint(resume_from_checkpoint, model)


def _eval_sampler(compute: Any, given: Sampler | None, config: DistillationConfig, args: Any) -> Sampler:
    """Return how outputs are written in an evaluation."""
    if given is not None and not isinstance(given, Sampler):
        raise ArgumentError(f"eval_sampler: expected Sampler(...) or None, got {quote(given)}. Make one of it.")
    best = args.metric_for_best_model
    if compute is None and best is not None and not best.endswith("loss"):
        raise ArgumentError(
            f"args.metric_for_best_model: expected 'loss' without compute_metrics, got {best!r}. Give "
            "compute_metrics, a function that returns it."
        )
    if given is not None and compute is None:
        raise ArgumentError(
            f"eval_sampler: expected None without compute_metrics, as nothing is written then, got {quote(given)}. "
            "Give compute_metrics too."
        )
    return Sampler("greedy", max_new_tokens=config.how.max_new_tokens) if given is None else given
