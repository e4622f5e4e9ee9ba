"""Settings of splits, augmentation and training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from voxlake.core.settings import Settings

__all__ = ["AugmentationSettings", "SplitSettings", "TrainingSettings"]

Fraction = Annotated[float, Field(ge=0, lt=1)]


class SplitSettings(Settings):
    """How groups are dealt out to training, validation and test.

    Parameters
    ----------
    kind : {"kfold", "holdout"}
        ``"kfold"``: each group is tested once, by the network that has not seen it. ``"holdout"``: one
        test part.
    folds : int
        Number of folds of ``"kfold"``.
    validation : float
        Share of what is not tested that chooses the epoch.
    test : float
        Share of all groups that ``"holdout"`` tests on.
    seed : int
        Of the drawing.
    stratify : bool
        Keep the classes in the same proportion in every part.
    """

    kind: Literal["kfold", "holdout"] = "kfold"
    folds: Annotated[int, Field(ge=2)] = 5
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: NonNegativeInt = 0
    stratify: bool = True


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
    monitor : {"loss", "roc_auc"}
        Validation value that chooses the epoch and stops early. The loss is the default: it still tells
        epochs apart where every pair is ranked right, and it asks for probabilities that mean something.
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
    precision : {"auto", "float32"}
        ``"auto"`` multiplies in bfloat16 where the processor has instructions for it.
    threads : int, optional
        Of torch; its own choice, one for each physical core, if absent. Results are equal, bit for bit,
        only for equal numbers of threads.
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
    monitor: Literal["loss", "roc_auc"] = "loss"
    class_weights: Literal["balanced", "none"] = "none"
    label_smoothing: Fraction = 0.0
    augmentation: AugmentationSettings = AugmentationSettings()
    ema: Fraction = 0.0
    clip: Annotated[float, Field(gt=0)] | None = None
    precision: Literal["auto", "float32"] = "auto"
    threads: PositiveInt | None = None
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.patience is not None and self.patience >= self.epochs:
            raise ValueError(
                f"patience of {self.patience} never stops {self.epochs} epochs early; leave it out"
            )
        return self
