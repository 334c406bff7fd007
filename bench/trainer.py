"""The peer `transformers.Trainer`, set up alike in every measurement and without a word."""

import contextlib
import io
import time
from typing import Any


def arguments_of(folder: str, batch: int, rate: float, **length: Any) -> Any:
    """Its settings.

    Args:
        folder: it wants one, and writes nothing there.
        batch: items a step.
        rate: highest learning rate.
        length: `num_train_epochs` or `max_steps`.
    """
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        remove_unused_columns=False,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        **length,
    )


def cpu_seconds(trainer: Any) -> float:
    """CPU seconds of its training."""
    begin = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its own figures
        trainer.train()
    return time.process_time() - begin
