"""Settings of splits, augmentation and training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from voxlake.core.settings import Settings

__all__ = ["AugmentationSettings", "SequenceSettings", "SplitSettings", "TrainingSettings"]

Fraction = Annotated[float, Field(ge=0, lt=1)]


class SplitSettings(Settings):
    """How groups are dealt out to training, validation and test.

    Parameters
    ----------
    kind : {"kfold", "holdout", "given", "leave_one_out"}
        ``"kfold"``: each group is tested once, by the network that has not seen it. ``"holdout"``: one
        test part. ``"given"``: the split that a data set comes with; a label says ``train``, ``validation``
        or ``test``. ``"leave_one_out"``: every value of a label, for example a hospital, is tested once, by
        the network that has seen all others.
    label : str, optional
        Name of the label of ``"given"`` and ``"leave_one_out"``.
    shared : {"stop", "leave_out"}
        What to do of ``"given"`` and ``"leave_one_out"`` where patients or images stand in two parts: stop,
        or learn without those that are in a later part too (validation comes after training, test last).
    folds : int
        Number of folds of ``"kfold"``.
    validation : float
        Share of what is not tested that chooses the epoch; not used where it is given.
    test : float
        Share of all groups that ``"holdout"`` tests on.
    seed : int
        Of the drawing.
    stratify : bool
        Keep the classes in the same proportion in every part.
    """

    kind: Literal["kfold", "holdout", "given", "leave_one_out"] = "kfold"
    label: Annotated[str, Field(min_length=1)] | None = None
    shared: Literal["stop", "leave_out"] = "stop"
    folds: Annotated[int, Field(ge=2)] = 5
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: NonNegativeInt = 0
    stratify: bool = True

    @property
    def labelled(self) -> bool:
        """Whether a label decides who is tested."""
        return self.kind in ("given", "leave_one_out")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.labelled and self.label is None:
            raise ValueError(f"kind = '{self.kind}' needs 'label', the label that names the parts")
        if not self.labelled and (self.label is not None or self.shared != "stop"):
            raise ValueError(f"'label' and 'shared' are for 'given' and 'leave_one_out', not '{self.kind}'")
        return self


class SequenceSettings(Settings):
    """What a sequence is, for networks that take one.

    Parameters
    ----------
    of : {"slices", "visits"}
        The slices of a volume, from the first to the last; or the volumes of a patient by date of study.
    longest : int, optional
        Most steps. Of more slices so many are taken at equal distances, of more visits the latest.
    """

    of: Literal["slices", "visits"] = "slices"
    longest: PositiveInt | None = None


class AugmentationSettings(Settings):
    """Random changes of the training images, drawn anew in every epoch; all zero means none.

    Parameters
    ----------
    flip : tuple of {"slice", "row", "column"}
        Axes along which half of the images are mirrored; ``"column"`` swaps left and right of the picture.
    shift : float
        Largest shift along every axis, as a share of the extent.
    rotate : float
        Largest rotation in the plane of rows and columns, in degrees.
    scale : float
        Largest change of size, as a share: 0.1 draws factors from 0.9 to 1.1.
    intensity : float
        Largest change of contrast, as a share, and of brightness, in standard deviations of the image.
    noise : float
        Standard deviation of Gaussian noise, in standard deviations of the image.
    """

    flip: tuple[Literal["slice", "row", "column"], ...] = ()
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    intensity: Fraction = 0.0
    noise: Fraction = 0.0

    def moves(self) -> bool:
        """Whether pixels change their place."""
        return bool(self.flip or self.shift or self.rotate or self.scale)


class TrainingSettings(Settings):
    """How a network is fitted.

    Parameters
    ----------
    epochs : int
        Most passes over the training part.
    batch_size : int
        Most images in a step; the batches of an epoch are of equal size, give or take one.
    optimiser : {"adam", "adamw", "sgd"}
        Adam (Kingma & Ba, 2015), with decoupled weight decay (Loshchilov & Hutter, 2019), or SGD with
        Nesterov momentum.
    learning_rate : float
        The largest one.
    weight_decay : float
        Of all parameters.
    momentum : float
        Of ``"sgd"``.
    schedule : {"none", "cosine", "one_cycle"}
        Learning rate over all steps: constant; a half cosine to zero; a rise over the first quarter, then a
        half cosine to zero (Smith & Topin, 2019).
    patience : int, optional
        Stop after so many epochs without a better validation value; without it all epochs are run.
    monitor : str
        Figure of the validation part that chooses the epoch and stops early: ``"loss"``, or another of the
        kind of task, for example ``"roc_auc"``, ``"accuracy"``, ``"mean_absolute_error"`` or ``"dice"``. The
        loss is the default: it still tells epochs apart where every pair is ranked right, and it asks for
        probabilities that mean something.
    loss : {"auto", "mse", "huber", "l1"}
        Of numbers and of reconstructed images: the mean squared error, Huber's, which outliers pull less
        (Huber, 1964), or the mean absolute error. ``"auto"`` is Huber's for numbers and the squared error for
        images. Classes have the cross-entropy.
    class_weights : {"balanced", "none"}
        ``"balanced"`` weighs classes by the inverse of their frequency in the training part.
    label_smoothing : float
        Share of each target that is spread over all classes.
    augmentation : AugmentationSettings
        Random changes of the training images.
    ema : float
        Decay, per step, of an exponential moving average of the weights that is validated and returned in
        their place; 0 for none.
    clip : float, optional
        Largest norm of the gradient of all parameters.
    precision : {"auto", "bfloat16", "float16", "float32"}
        What is multiplied in; weights stay float32. ``"auto"`` takes bfloat16 where the processor or the GPU
        has instructions for it. ``"float16"`` is for a GPU, with a scaled loss so that small gradients do not
        vanish.
    device : {"auto", "cpu", "cuda"}
        Where it is computed; ``"auto"`` takes a GPU if there is one.
    processes : int
        Processes of this machine that learn from a share of each batch each; their gradients are summed. On a
        processor only.
    threads : int, optional
        Of torch, in each process; its own choice, one for each physical core, if absent. Results are equal,
        bit for bit, only for equal numbers of threads.
    checkpoint_every : int, optional
        Steps after which the state is kept also within an epoch; it always is after each.
    loggers : tuple of {"tensorboard", "mlflow"}
        Where the figures of each epoch are written beside the card of the model; need the extra ``track``.
    seed : int
        Of initial weights, order, augmentation and dropout.
    """

    epochs: PositiveInt = 30
    batch_size: PositiveInt = 32
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    momentum: Fraction = 0.9
    schedule: Literal["none", "cosine", "one_cycle"] = "one_cycle"
    patience: PositiveInt | None = None
    monitor: Annotated[str, Field(min_length=1)] = "loss"
    loss: Literal["auto", "mse", "huber", "l1"] = "auto"
    class_weights: Literal["balanced", "none"] = "none"
    label_smoothing: Fraction = 0.0
    augmentation: AugmentationSettings = AugmentationSettings()
    ema: Fraction = 0.0
    clip: Annotated[float, Field(gt=0)] | None = None
    precision: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: PositiveInt = 1
    threads: PositiveInt | None = None
    checkpoint_every: PositiveInt | None = None
    loggers: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.patience is not None and self.patience >= self.epochs:
            raise ValueError(
                f"patience of {self.patience} never stops {self.epochs} epochs early; leave it out"
            )
        if self.precision == "float16" and self.device == "cpu":
            raise ValueError("precision = 'float16' is for a GPU; a processor has 'bfloat16'")
        if self.processes > 1 and self.device == "cuda":
            raise ValueError("processes are for processors: leave out 'processes' or set device = 'cpu'")
        return self
