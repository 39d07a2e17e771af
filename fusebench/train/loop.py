"""The one training loop, on transformers.Trainer; methods differ by the rows they bring and by nothing else."""

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.utils import logging as transformers_logging

from fusebench.artifacts import Blocks, Candidate, Checkpoint, SparseDistributions, TokenTable
from fusebench.errors import ModelError, RecipeError, UnavailableError
from fusebench.recipe.sections import TrainSection
from fusebench.train.attention import choose_way, model_inputs
from fusebench.train.batches import BlockBatches, order_of
from fusebench.train.export import save_model
from fusebench.train.losses import sparse_loss

Progress = Callable[[int, int], None]
SAVE_SECONDS = 120.0
"""Time between checkpoints to resume from; shorter runs are simply done again."""

HISTORY_ROWS = 200
"""About so many lines in history.jsonl."""

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def train(
    model: Any,
    tokenizer: Any,
    tokens: TokenTable,
    blocks: Blocks,
    rows: SparseDistributions | None,
    settings: TrainSection,
    out: Path,
    *,
    seed: int,
    points: int = 0,
    save_seconds: float = SAVE_SECONDS,
    facts: dict[str, object] | None = None,
    progress: Progress | None = None,
) -> Candidate:
    """Return the trained model as a candidate; its folder is `out/model`, its way there `out/history.jsonl`.

    An interrupted training in `out` is resumed from its last checkpoint and ends where it would have ended.

    Args:
        model: changed in place.
        tokenizer: the model's own; saved beside it.
        tokens: the corpus in that tokenizer.
        blocks: the packing; with `seed` and `settings` it decides the batches, whatever the method.
        rows: fused or teacher rows at the model's positions and ids; None trains on the next token alone.
        settings: how to train. `bfloat16` computes in bfloat16 and keeps weights and optimiser in float32.
        out: a (partial) folder of the run.
        seed: of the order of blocks after the first pass, and of dropout.
        points: models to keep at so many evenly spaced steps, the final one counted.
        save_seconds: time between checkpoints.
        facts: lines for the model card, before the loop's own.
        progress: called with optimiser steps done and their total.

    Raises:
        RecipeError: `device_batch_blocks` does not divide the batch, or there are more points than steps.
        UnavailableError: the GPU has no bfloat16.
        ModelError: the model's context is shorter than a block's positions, or it cannot keep packed chunks apart.
        ArtifactError: the rows stand at other positions or hold other ids.
    """
    if rows is not None:
        rows.require(tokens=tokens.tokenizer, vocab=tokens.tokenizer)
    out.mkdir(parents=True, exist_ok=True)
    _check_context(model, tokens, blocks, settings)
    order = order_of(
        blocks, seed=seed, batch_blocks=settings.batch_blocks, epochs=settings.epochs, steps=settings.steps
    )
    model = model.float()
    transformers_logging.disable_progress_bar()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    data = BlockBatches(tokens, blocks, order, rows, pad_id=pad or 0, restart=settings.packed_attention == "blocked")
    arguments = _arguments(settings, out, order.steps, seed)
    facts = {**(facts or {}), **_facts(settings, seed, order.steps)}
    recorder = _Recorder(out, data, model, tokenizer, points, save_seconds, facts, progress)
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=_as_is,
        callbacks=[recorder],
        compute_loss_func=sparse_loss,
    )
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    trainer.settings, trainer.recorder = settings, recorder
    trainer.way = choose_way(model, settings.packed_attention)
    trainer.train(resume_from_checkpoint=_resume(out, recorder))
    seconds = recorder.finish()
    model.config.use_cache = True
    if trainer.is_world_process_zero():
        save_model(model, tokenizer, out / "model", facts=facts)
        shutil.rmtree(out / "trainer", ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    candidate = Candidate(
        kind="model",
        models=["model"],
        parameters=model.num_parameters(),
        tokens=int(data.tokens_by_step()[-1]),
        seconds=seconds,
        batches=order.digest(blocks),
        checkpoints=recorder.checkpoints(),
        notes={"attention": trainer.way, "steps": str(order.steps)},
    )
    candidate.save(out)
    return candidate


def _check_context(model: Any, tokens: TokenTable, blocks: Blocks, settings: TrainSection) -> None:
    context = getattr(model.config, "max_position_embeddings", None) or getattr(model.config, "max_seq_len", None)
    longest = int((tokens.offsets[1:] - tokens.offsets[:-1]).max())
    need = blocks.block_tokens if settings.packed_attention == "open" else longest
    if context is not None and need > context:
        raise ModelError(
            f"`{type(model).__name__}` takes {context} tokens, but is given {need}",
            why="its positions end there",
            fix="make `corpus.chunk_tokens` and `train.block_tokens` smaller",
        )


def _arguments(settings: TrainSection, out: Path, steps: int, seed: int) -> TrainingArguments:
    bfloat16 = settings.dtype == "bfloat16"
    if bfloat16 and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise UnavailableError(
            "this GPU does not compute in bfloat16", why="`train.dtype` asks for it", fix="set `train.dtype: float32`"
        )
    arguments = TrainingArguments(
        output_dir=str(out / "trainer"),
        per_device_train_batch_size=1,  # set below, when the number of devices is known
        max_steps=steps,
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.grad_clip,
        warmup_steps=int(settings.warmup_ratio * steps),
        lr_scheduler_type=SCHEDULES[settings.schedule],
        bf16=bfloat16,
        use_cpu=bfloat16 and not torch.cuda.is_available(),
        seed=seed,
        data_seed=seed,
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        save_total_limit=1,
        eval_strategy="no",
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
        log_level="error",
        log_level_replica="error",
    )
    # One process is one device: DataParallel would multiply the batch. Several devices take several processes.
    if arguments.device.type == "cuda":
        arguments._n_gpu = 1
    world = max(1, arguments.world_size)
    device = settings.device_batch_blocks or max(1, settings.batch_blocks // world)
    if settings.batch_blocks % (device * world):
        raise RecipeError(
            f"`train.batch_blocks` is {settings.batch_blocks}, which {device} blocks on {world} devices do not divide",
            why="every optimiser step must see the same number of blocks",
            fix="make `train.batch_blocks` a multiple of `train.device_batch_blocks` times the number of devices",
        )
    arguments.per_device_train_batch_size = device
    arguments.gradient_accumulation_steps = settings.batch_blocks // (device * world)
    return arguments


def _facts(settings: TrainSection, seed: int, steps: int) -> dict[str, object]:
    chosen = settings.model_dump(include={"learning_rate", "batch_blocks", "block_tokens", "schedule", "clm_weight"})
    return {**chosen, "steps": steps, "seed": seed}


def _resume(out: Path, recorder: "_Recorder") -> str | None:
    """Return the newest whole checkpoint, or None; one that was cut off while it was written is removed."""
    found: list[tuple[int, Path]] = []
    for folder in (out / "trainer").glob("checkpoint-*"):
        try:
            # The Trainer writes its state last.
            found.append((int(json.loads((folder / "trainer_state.json").read_text())["global_step"]), folder))
        except (OSError, ValueError, KeyError):
            shutil.rmtree(folder)
    step, last = max(found, default=(0, None))
    recorder.start(step)
    return str(last) if last is not None else None


def _as_is(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return batch  # the data set makes whole batches


class _Trainer(Trainer):
    settings: TrainSection
    recorder: "_Recorder"
    way: str

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the batch's part of the mean loss over all targets of the optimiser step."""
        outputs = model(**model_inputs(self.model, inputs, self.way))
        losses = sparse_loss(
            outputs.logits,
            inputs["targets"],
            inputs.get("row_ids"),
            inputs.get("row_logprobs"),
            self.settings.clm_weight if "row_ids" in inputs else 1.0,
        )
        self.recorder.add(losses.clm, losses.fusion, losses.total, (inputs["targets"] >= 0).sum())
        # Processes average their gradients, so that each counts its own share of the step's targets.
        loss = losses.total * (self.args.world_size / inputs["step_targets"])
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # The order is the data set's: it must be the same for every method.
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: counting walks over every parameter at every step, and nobody reads it."""
        return 0


class _Recorder(TrainerCallback):
    """Progress, history, points and checkpoints; reads numbers off the device only when it writes them."""

    def __init__(
        self,
        out: Path,
        data: BlockBatches,
        model: Any,
        tokenizer: Any,
        points: int,
        save_seconds: float,
        facts: dict[str, object],
        progress: Progress | None,
    ) -> None:
        self.out, self.model, self.tokenizer, self.facts = out, model, tokenizer, facts
        self.save_seconds, self.progress = save_seconds, progress
        self.tokens = data.tokens_by_step()
        self.total = len(self.tokens)
        self.every = max(1, self.total // HISTORY_ROWS)
        if points > self.total:
            raise RecipeError(
                f"`points` is {points}, but training has {self.total} steps",
                why="each point is another step",
                fix="make `points` smaller, or train longer",
            )
        self.points = [round(i * self.total / points) for i in range(1, points)]
        self.sums: Tensor | None = None
        self.pending: list[dict[str, object]] = []
        self.before = 0.0
        self.begun = self.saved = time.monotonic()

    def start(self, step: int) -> None:
        """Begin at a step: lines of a killed run that lie behind its checkpoint are dropped."""
        path = self.out / "history.jsonl"
        lines = [json.loads(x) for x in path.read_text().splitlines()] if path.exists() and step else []
        kept = [line for line in lines if line["step"] <= step]
        self.before = max((line["seconds"] for line in kept), default=0.0)
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.begun = self.saved = time.monotonic()

    def add(self, clm: Tensor, fusion: Tensor, total: Tensor, targets: Tensor) -> None:
        """Add one micro-batch to the running sums."""
        now = torch.stack([total.detach().float(), clm.float(), fusion.float(), targets.float()])
        self.sums = now if self.sums is None else self.sums + now

    def seconds(self) -> float:
        """Return the training time so far, that of resumed runs included."""
        return self.before + time.monotonic() - self.begun

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Write what is due at this step."""
        step = state.global_step
        if step % self.every == 0 or step == self.total:
            self._write_history(step, kwargs["lr_scheduler"].get_last_lr()[0])
        if step in self.points and state.is_world_process_zero:
            folder = self.out / "points" / f"step-{step:06d}"
            save_model(self.model, self.tokenizer, folder, facts={**self.facts, "at step": step})
        if time.monotonic() - self.saved >= self.save_seconds and step < self.total:
            # History must be whole up to the checkpoint.
            self._write_history(step, kwargs["lr_scheduler"].get_last_lr()[0])
            control.should_save = True
            self.saved = time.monotonic()
        if self.progress is not None:
            self.progress(step, self.total)
        return control

    def _write_history(self, step: int, rate: float) -> None:
        if self.sums is None:
            return
        total, clm, fusion, targets = self.sums.tolist()
        self.sums = None
        line = {
            "step": step,
            "tokens": int(self.tokens[step - 1]),
            "loss": total / targets,
            "clm_loss": clm / targets,
            "fusion_loss": None if math.isnan(fusion) else fusion / targets,  # NaN: no rows
            "lr": rate,
            "seconds": round(self.seconds(), 3),
        }
        with (self.out / "history.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def finish(self) -> float:
        """Return the training time in seconds."""
        return round(self.seconds(), 3)

    def checkpoints(self) -> list[Checkpoint]:
        """Return the models on the way."""
        return [Checkpoint(s, int(self.tokens[s - 1]), f"points/step-{s:06d}") for s in self.points]
