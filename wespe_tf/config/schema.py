"""Every setting: type, default, unit, meaning; presets and `key=value` on top of them."""

import dataclasses
import math
from dataclasses import dataclass

from ..models import options


def setting(
    default,
    meaning,
    unit="",
    choices=None,
    at_least=None,
    below=math.inf,
    at_most=math.inf,
    alias=None,
):
    """A dataclass field that `--help` can print and `load` can check."""
    metadata = {
        "meaning": meaning,
        "unit": unit,
        "choices": choices,
        "at_least": at_least,
        "below": below,
        "at_most": at_most,
        "alias": alias,
    }
    return dataclasses.field(default=default, metadata=metadata)


def _with_weights(schema: type) -> type:
    """A schema with a setting `w_<name>` for the weight of every loss."""
    for name, loss in options.LOSSES.items():
        schema.__annotations__[f"w_{name}"] = float
        meaning = f"weight of the {name} loss: {loss.meaning}"
        setattr(schema, f"w_{name}", setting(loss.weight, meaning, at_least=0))
    return schema


@dataclass
@_with_weights
class TrainConfig:
    """Settings of `train.py`. Defaults are the paper's where the paper says."""

    preset: str | None = setting(
        None,
        "named list of settings that the others override; by default recommended with photos "
        "given, quickstart without",
    )
    scale: str = setting(
        "full",
        "small: the preset cut to minutes on two cores: at most 400 iterations of 4 patches of 48 "
        "pixels, half the channels, content at relu3_4",
        choices=("full", "small"),
    )
    run: str | None = setting(None, "run folder models/RUN; by default <preset>-001, -002, …")
    resume: bool = setting(
        False, "go on with run= from its newest checkpoint; its other settings stay"
    )
    deterministic: bool = setting(
        False, "the same numbers, bit for bit, every time, resumed or not; slower"
    )

    method: str = setting(
        "wespe",
        "wespe, or dped: the authors' supervised training on DPED's pairs, for comparison",
        choices=("wespe", "dped"),
    )

    # Data: own folders, a phone of DPED, or (neither given) the embedded sample.
    source_dir: str | None = setting(None, "folder of photos to learn to enhance (the phone's)")
    target_dir: str | None = setting(None, "folder of good photos, not paired with source_dir")
    val_source_dir: str | None = setting(None, "phone side of validation pairs")
    val_target_dir: str | None = setting(None, "good side of validation pairs, same file names")
    model: str | None = setting(None, "phone of the DPED data set: iphone, blackberry or sony")
    dped_dir: str = setting("dped/", "folder of the DPED data set")
    train_size: int = setting(
        30000,
        "method=dped: patches in the pool that batches are drawn from; -1 for all",
        at_least=-1,
    )
    view_share: float = setting(
        0.0, "share of the patches that are shrunk views of a photo, not cut-outs", at_least=0
    )
    patch_size: int = setting(100, "side of the training patches", "pixels", at_least=17)
    batch_size: int = setting(30, "patches of each domain in a batch", at_least=1)

    # Networks.
    generator_width: int = setting(64, "channels of the generators", at_least=4)
    generator_blocks: int = setting(4, "residual blocks of the generators", at_least=0)
    generator_norm: str = setting(
        "instance", "norm in the generators", choices=options.GENERATOR_NORMS
    )
    generator_init: str = setting(
        "truncated_normal",
        "start of the generators; identity passes pictures through",
        choices=options.GENERATOR_STARTS,
    )
    tanh_scale: float = setting(0.58, "outputs lie in 0.5 ± tanh_scale", at_least=0.5)
    discriminator_width: float = setting(
        1.0, "factor on the discriminators' channels", at_least=0.02
    )
    discriminator_head: str = setting(
        "two_class_sigmoid",
        "outputs of the discriminators",
        choices=options.HEADS,
    )
    discriminator_init: str = setting(
        "truncated_normal", "start of the discriminators", choices=options.KERNEL_STARTS
    )
    discriminator_order: str = setting(
        "activation_norm",
        "order within the discriminators' layers",
        choices=options.ORDERS,
    )
    color_norm: str = setting(
        "instance", "norm in the color discriminator", choices=options.DISCRIMINATOR_NORMS
    )
    texture_norm: str = setting(
        "instance", "norm in the texture discriminator", choices=options.DISCRIMINATOR_NORMS
    )
    blur: str = setting(
        "paper",
        "Gaussian kernel of the color discriminator's view",
        choices=options.BLURS,
    )

    # Losses; `_with_weights` adds the weights.
    noise_filter: bool = setting(True, "the guide also loses the noise that target photos lack")
    content_features: str = setting(
        "vgg19",
        "where content is compared; pixels is CycleGAN's cycle loss",
        choices=("vgg19", "pixels"),
    )
    content_layer: str = setting(
        "relu5_4",
        "ReLU of VGG-19 for the content loss",
        choices=options.VGG_LAYERS,
    )
    content_normalise: bool = setting(
        False, "divide the VGG content loss by the features' mean square"
    )
    content_pair: str = setting(
        "source",
        "what the inverse generator's output should resemble; the report's code compares it with "
        "its own input, the enhanced picture",
        choices=options.CONTENT_PAIRS,
    )
    content_extra_division: bool = setting(
        False, "divide the content loss by the batch's size once more, as the report's code does"
    )
    vgg_preprocessing: str = setting(
        "weights",
        "input of VGG-19: as its weights ask, or as the report's code has it (RGB minus the means "
        "of BGR)",
        choices=("weights", "report"),
    )
    label_smoothing: float = setting(
        0.0, "s: 1 in the discriminators' targets becomes 1 - s·U(0, 1)", at_least=0, below=1
    )
    flip_labels: bool = setting(False, "the discriminators answer 1 for fake, 0 for real")
    vgg_weights: str = setting(
        "imagenet",
        "imagenet (download), random, or an .h5, .npz or MatConvNet .mat file; also vgg_dir",
        alias="vgg_dir",
    )
    border: int = setting(
        0, "edge of the patches that losses and discriminators skip", "pixels", at_least=0
    )

    # Optimization.
    distribute: str = setting(
        "none",
        "mirrored: every GPU of this machine; multi_worker: the machines that TF_CONFIG lists",
        choices=("none", "mirrored", "multi_worker"),
    )
    num_train_iters: int = setting(20000, "length of the run", "iterations", at_least=1)
    warm_start_iters: int = setting(
        0,
        "iterations before those, in which the generators learn the guide",
        "iterations",
        at_least=0,
    )
    warm_start_learning_rate: float = setting(
        5e-4, "Adam's largest step in the warm start; it rises, then falls to zero", at_least=0
    )
    learning_rate: float = setting(5e-4, "Adam's step for the generators", at_least=0)
    discriminator_learning_rate: float = setting(
        5e-4, "Adam's step for the discriminators", at_least=0
    )
    learning_rate_decay: str = setting(
        "none",
        "cosine: both steps rise over a tenth of the run, then fall to zero",
        choices=("none", "cosine"),
    )
    generator_beta_1: float = setting(0.9, "Adam's β1 for the generators", at_least=0, below=1)
    discriminator_beta_1: float = setting(
        0.9, "Adam's β1 for the discriminators", at_least=0, below=1
    )
    ema: float = setting(
        0.0,
        "moving average of the generators, evaluated and saved: share kept per iteration; 0 off",
        at_least=0,
        below=1,
    )
    schedule: str = setting(
        "simultaneous",
        "who trains in an iteration: both sides, one kind by a fixed ratio, or one kind by who is "
        "behind (dynamic balance)",
        choices=("simultaneous", "alternating", "balance"),
    )
    ratio: str = setting("1:1", "schedule=alternating: generator:discriminator iterations")
    balance_window: int = setting(5, "balance: losses that a decision averages", at_least=1)
    balance_begin: int = setting(
        20, "balance: iterations of an epoch before the first decision", at_least=0
    )
    balance_epoch: int = setting(
        1364,
        "balance: it begins anew after so many; the report's epoch, 30 000 pairs by 22",
        "iterations",
        at_least=1,
    )
    balance_generator_threshold: float = setting(
        0.015, "balance: generators are behind above this loss", at_least=0
    )
    balance_discriminator_threshold: float = setting(
        0.55, "balance: discriminators are ahead below this mean loss", at_least=0
    )
    balance_start: str = setting("1:2", "balance: ratio until the first decision")
    balance_generators_behind: str = setting("1:0", "balance: ratio while generators are behind")
    balance_discriminators_ahead: str = setting(
        "3:1", "balance: ratio while discriminators are ahead"
    )
    balance_discriminators_behind: str = setting(
        "1:3", "balance: ratio while discriminators are behind"
    )
    unfreeze_discriminators: bool = setting(
        False, "compute the discriminators' gradients in the generators' step, and drop them"
    )
    precision: str = setting(
        "float32", "arithmetic of the networks", choices=("float32", "bfloat16", "float16")
    )
    seed: int = setting(0, "of everything random", at_least=0, below=2**32)

    # What is written.
    eval_step: int = setting(
        1000, "iterations between evaluations, figures and checkpoints", "iterations", at_least=1
    )
    keep_checkpoints: int = setting(2, "newest checkpoints kept", at_least=1)

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the losses, by name."""
        return {name: getattr(self, f"w_{name}") for name in options.LOSSES}


@dataclass
class TestConfig:
    """Settings of `test_model.py`: own photos (`input`), or the authors' DPED test photos."""

    model: str = setting(
        "",
        "run, run folder, .keras or .tflite file, or TF 1 checkpoint, by default "
        "models/phone_bench.keras; for DPED's photos a phone (iphone, blackberry, sony) or the "
        "authors' trained model of it (iphone_orig, …)",
    )

    # Own photos.
    input: str | None = setting(None, "photo, folder of photos, or pattern such as day*/*.jpg")
    output: str = setting("visual_results", "folder for the results")
    target: str | None = setting(None, "photo, or folder of the same names, to score against")
    strength: float = setting(
        1.0, "share of the enhanced photo in the result", at_least=0, at_most=1
    )
    format: str = setting("png", "of the results; same keeps the input's", choices=("png", "same"))
    quality: int = setting(95, "of JPEG and WebP results", "1 to 100", at_least=1, at_most=100)
    overwrite: bool = setting(False, "whether results that are there already are made again")
    report: bool = setting(False, "whether report.html shows the results under sliders")
    runtime: str = setting(
        "auto",
        "what computes; auto is keras with a GPU, openvino without; tflite for .tflite files",
        choices=("auto", "keras", "openvino", "tflite"),
    )
    precision: str = setting(
        "auto",
        "auto is bfloat16 for openvino on a processor with units for it, else float32",
        choices=("auto", "float32", "bfloat16"),
    )
    mode: str = setting(
        "auto",
        "whole: one pass; fast: tiles, their norms from a sample of the photo; exact: tiles that "
        "equal the whole; auto: whole where it fits memory_limit, else fast",
        choices=("auto", "whole", "fast", "exact"),
    )
    memory_limit: float = setting(
        1.5, "of the whole process, chooses mode and tiles", "GB", at_least=0.1
    )
    max_megapixels: float = setting(
        400.0, "larger photos are refused", "million pixels", at_least=0.0001
    )

    # DPED's full-size test photos, where input is not given: the authors' keys and defaults.
    dped_dir: str = setting("dped/", "folder of the DPED data set")
    test_subset: str = setting("small", "small: the first five photos", choices=("small", "full"))
    iteration: str = setting("all", "all, or one iteration of a model trained with preset=dped")
    resolution: str = setting(
        "orig", "center crop of the photos", choices=("orig", "high", "medium", "small", "tiny")
    )
    use_gpu: bool = setting(True, "whether to use a GPU that is there")
    models_orig_dir: str = setting("models_orig", "folder of the authors' trained models")


@dataclass
class ExportConfig:
    """Settings of `export_tflite.py`."""

    model: str = setting(
        "",
        "run, run folder, .keras file or TF 1 checkpoint, by default the one that comes with the "
        "project; or one of the authors' trained models (iphone_orig, …)",
    )
    output: str = setting("exported", "folder for the files")
    formats: str = setting(
        "float32,float16,dynamic,int8",
        "what to write: weights of 32 or 16 bits; 8-bit weights (dynamic); 8-bit weights and "
        "activations (int8); the first and the last layer keep 16 bits",
    )
    height: int = setting(
        0, "of the photos or tiles that the graph takes, 0 for any", "pixels", at_least=0
    )
    width: int = setting(
        0, "of the photos or tiles that the graph takes, 0 for any", "pixels", at_least=0
    )
    io: str = setting(
        "float32",
        "what goes in and out: float32 in [0, 1], or bytes, clipped and rounded in the graph",
        choices=("float32", "uint8"),
    )
    export_norm: str = setting(
        "auto",
        "adaptive: tiles of height × width (by default 256) and a second signature that measures "
        "the photo for the norms; live: norms measure what goes in; frozen: what they do on "
        "average is folded into the convolutions; auto: adaptive with a fixed shape, else live",
        choices=("auto", "adaptive", "live", "frozen"),
    )
    calibration_dir: str | None = setting(
        None, "photos that show int8 and frozen norms what to expect; by default the sample's"
    )
    val_dir: str | None = setting(
        None, "other photos, to verify the files with; by default the sample's"
    )
    val_target_dir: str | None = setting(
        None, "good side of val_dir, same names, to score live and frozen norms against"
    )
    overwrite: bool = setting(False, "whether files that are there already are replaced")
    force: bool = setting(False, "whether files that fail their verification are written as well")
    models_orig_dir: str = setting("models_orig", "folder of the authors' trained models")
