"""Every setting of the commands: type, default, meaning, bounds."""

from dataclasses import dataclass

from ..models import options
from .setting import setting

# Shortest side of what the discriminators see. Their convolutions reduce 16 pixels to one, and
# instance norm makes that zero.
LEAST_SIDE = 17


def _with_weights(schema: type) -> type:
    """A schema with a setting `w_<name>` for the weight of every loss."""
    for name, loss in options.LOSSES.items():
        schema.__annotations__[f"w_{name}"] = float
        meaning = f"weight of the {name} loss: {loss.meaning}"
        setattr(schema, f"w_{name}", setting(loss.weight, meaning, at_least=0))
    return schema


# It takes effect when the package is imported.
VERBOSE = setting(False, "true shows what TensorFlow writes when it starts")


@dataclass
class Run:
    """Run."""

    preset: str | None = setting(
        None,
        "name of a list of settings, which all other settings override; by default recommended if "
        "photos are given, else quickstart",
        first=True,
    )
    scale: str = setting(
        "full",
        "small cuts the preset to minutes on two cores: at most 400 iterations of 4 patches of 48 "
        "pixels, half the channels, content compared at relu3_4",
        choices=("full", "small"),
    )
    run: str | None = setting(
        None,
        "name of the run, whose folder is models/RUN; by default <preset>-001, -002, …",
        first=True,
    )
    resume: bool = setting(
        False,
        "true goes on with the run that run= names, from its newest checkpoint, with its settings",
        first=True,
    )
    deterministic: bool = setting(
        False, "true gives the same numbers every time, bit for bit, but takes longer"
    )
    seed: int = setting(0, "seed of all random numbers", at_least=0, below=2**32)
    method: str = setting(
        "wespe",
        "dped is the authors' supervised training on pairs of the DPED data set",
        choices=("wespe", "dped"),
    )


@dataclass
class Folders:
    """Data: your own two folders, a phone of DPED, or, with neither, the built-in sample."""

    source_dir: str | None = setting(
        None, "folder of photos to be enhanced, your phone's; sub-folders count", first=True
    )
    target_dir: str | None = setting(
        None, "folder of good photos, of other scenes; sub-folders count", first=True
    )
    val_source_dir: str | None = setting(
        None, "pairs that score the run: the phone's photos", first=True
    )
    val_target_dir: str | None = setting(
        None, "pairs that score the run: the good photos, with the same file names", first=True
    )
    model: str | None = setting(
        None, "instead of folders, a phone of the DPED data set: iphone, blackberry or sony"
    )
    dped_dir: str = setting("dped/", "folder of the DPED data set")


@dataclass
class Patches:
    """Patches: what is cut out of the photos."""

    patch_size: int = setting(100, "side of the training patches", "pixels", at_least=LEAST_SIDE)
    batch_size: int = setting(30, "patches from each folder in a batch", at_least=1, first=True)
    view_share: float = setting(
        0.0,
        "share of the patches that show a large part of a photo, reduced in size",
        at_least=0,
        at_most=1,
    )
    target_candidates: int = setting(
        1,
        "each source patch gets, of so many target patches, the one of most similar brightness and "
        "coarse contrast, so that discriminators compare like with like; 1: the next one",
        at_least=1,
    )
    context_patches: int = setting(
        0,
        "further patches, spread over each source patch's photo, whose statistics the generator's "
        "norms use, as if the whole photo were enhanced; 0, or without a guide: the patch's own",
        at_least=0,
    )
    train_size: int = setting(
        30000,
        "method=dped: number of patches that are drawn first, and then make the batches; -1: all",
        at_least=-1,
    )


@dataclass
class Networks:
    """Networks."""

    generator_width: int = setting(64, "channels of the generators", at_least=4)
    generator_blocks: int = setting(4, "residual blocks of the generators", at_least=0)
    generator_norm: str = setting(
        "instance", "norm in the generators", choices=options.GENERATOR_NORMS
    )
    generator_init: str = setting(
        "truncated_normal",
        "how the generators' weights start; identity passes pictures through",
        choices=options.GENERATOR_STARTS,
    )
    generator_ending: str = setting(
        "dped",
        "last layers of the generators; dped: two convolutions, one of 9×9, and tanh, as the "
        "authors'; plain: three convolutions and one of 1×1",
        choices=tuple(options.GENERATOR_ENDINGS),
    )
    norm_epsilon: float = setting(
        1e-3, "added to the variance in all norms: 1e-3 in the authors' code", at_least=0
    )
    tanh_scale: float = setting(0.58, "results lie in 0.5 ± tanh_scale", at_least=0.5)
    discriminator_width: float = setting(
        1.0, "channels of the discriminators, as a multiple of the paper's", at_least=0.02
    )
    discriminator_head: str = setting(
        "two_class_sigmoid",
        "what the discriminators answer: two outputs or one, sigmoid or softmax",
        choices=options.HEADS,
    )
    discriminator_init: str = setting(
        "truncated_normal", "how the discriminators' weights start", choices=options.KERNEL_STARTS
    )
    discriminator_order: str = setting(
        "activation_norm",
        "what comes first in the discriminators' layers",
        choices=options.ORDERS,
    )
    color_norm: str = setting(
        "instance", "norm in the color discriminator", choices=options.DISCRIMINATOR_NORMS
    )
    texture_norm: str = setting(
        "instance", "norm in the texture discriminator", choices=options.DISCRIMINATOR_NORMS
    )
    color_layers: str = setting(
        "dped",
        "layers of the color discriminator; dped: the authors'; fine: smaller kernels and strides, "
        "which see single pixels, and one answer for each place of the patch; report: those of the "
        "report's code, with a norm after the first convolution too, and a mean over the patch; "
        "report_later_norms: the same without that first norm",
        choices=tuple(options.DISCRIMINATOR_LAYERS),
    )
    texture_layers: str = setting(
        "dped",
        "layers of the texture discriminator; see color_layers",
        choices=tuple(options.DISCRIMINATOR_LAYERS),
    )


@dataclass
@_with_weights
class Losses:
    """Losses: G enhances a source picture x, F maps it back."""

    content_features: str = setting(
        "vgg19",
        "what the content loss compares: features of VGG-19, or pixels (CycleGAN's cycle loss)",
        choices=("vgg19", "pixels"),
    )
    content_layer: str = setting(
        "relu5_4",
        "layer of VGG-19 whose features are compared",
        choices=options.VGG_LAYERS,
    )
    content_normalise: bool = setting(
        False, "true divides the content loss by the mean square of the features"
    )
    content_pair: str = setting(
        "source",
        "what the content loss compares F(G(x)) with: the source picture, or the enhanced one, as "
        "in the report's code",
        choices=options.CONTENT_PAIRS,
    )
    content_extra_division: bool = setting(
        False, "true divides the content loss by the number of values, as the report's code does"
    )
    vgg_weights: str = setting(
        "imagenet",
        "weights of VGG-19: imagenet downloads them; random; or an .h5, .npz or MatConvNet .mat "
        "file (also vgg_dir=)",
        alias="vgg_dir",
    )
    vgg_preprocessing: str = setting(
        "weights",
        "how pictures are prepared for VGG-19; weights: as its weights expect; report: RGB minus "
        "the means of BGR, as in the report's code",
        choices=("weights", "report"),
    )
    vgg_norm: str = setting(
        "none",
        "norm in VGG-19; batch: batch norm with the statistics of each batch, as in the report's "
        "code; its weights are torchvision's, in an .npz file",
        choices=options.VGG_NORMS,
    )
    blur: str = setting(
        "paper",
        "Gaussian blur of the pictures that the color discriminator sees",
        choices=options.COLOR_VIEWS,
    )
    texture_view: str = setting(
        "grayscale",
        "what the texture discriminator sees; luma: grayscale with .299 as weight of red, as in "
        "the standard, where TensorFlow has .2989; detail: luminance minus its blur",
        choices=options.TEXTURE_VIEWS,
    )
    texture_limit: float = setting(
        0.0,
        "fine detail of the enhanced patches, relative to the guide's, from which on the texture "
        "loss is 0; 0, or without a guide (w_guide, warm_start_iters): no limit",
        at_least=0,
    )
    guide_blur: str = setting(
        "paper",
        "Gaussian blur of what the guide loss compares; a wide blur leaves texture free",
        choices=options.BLURS,
    )
    guide_detail: float = setting(
        0.0,
        "within the guide loss, weight of invented detail: fine detail that is no multiple of the "
        "guide's",
        at_least=0,
    )
    border: int = setting(
        0, "width of the patches' edge that losses and discriminators ignore", "pixels", at_least=0
    )
    noise_filter: bool = setting(
        True,
        "whether the guide also changes fine detail: removes noise that good photos do not have, "
        "and draws each color as sharply as they do",
    )
    tv_form: str = setting(
        "mean",
        "form of the tv loss; mean: mean of squared differences; by_values: their sum, divided by "
        "the number of values, which is 1 % larger; absolute: sum of absolute differences",
        choices=options.TV_FORMS,
    )
    label_smoothing: float = setting(
        0.0, "s: discriminators should answer 1 - s·U(0, 1) instead of 1", at_least=0, below=1
    )
    smoothed_labels: str = setting(
        "ones",
        "which labels are smoothed; both: discriminators should also answer s·U(0, 1) instead of 0",
        choices=options.SMOOTHED_LABELS,
    )
    flip_labels: bool = setting(
        False, "true: discriminators should answer 1 for enhanced pictures, 0 for good ones"
    )
    discriminator_weight: float = setting(
        1.0,
        "factor on the sum of the discriminators' losses; acts through Adam's ε only",
        at_least=0,
    )

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the losses, by name."""
        return {name: getattr(self, f"w_{name}") for name in options.LOSSES}


@dataclass
class Optimization:
    """Optimization."""

    num_train_iters: int = setting(20000, "length of the run", "iterations", at_least=1, first=True)
    learning_rate: float = setting(5e-4, "size of Adam's steps for the generators", at_least=0)
    discriminator_learning_rate: float = setting(
        5e-4, "size of Adam's steps for the discriminators", at_least=0
    )
    learning_rate_decay: str = setting(
        "none",
        "cosine: steps first grow, over a tenth of the run, then shrink to zero; with "
        "schedule=balance, less far, because no side knows how many steps it has",
        choices=("none", "cosine"),
    )
    discriminator_beta_1: float = setting(
        0.9, "Adam's β1 for the discriminators", at_least=0, below=1
    )
    adam: str = setting(
        "tensorflow",
        "form of Adam; pytorch: adds ε 1e-8 after the bias of the second moment is corrected",
        choices=options.ADAMS,
    )
    ema: float = setting(
        0.0,
        "the saved weights are a moving average, which keeps this share of itself in each "
        "iteration; 0: no average",
        at_least=0,
        below=1,
    )
    warm_start_iters: int = setting(
        0,
        "length of the warm start, in which the generators learn the guide before the run",
        "iterations",
        at_least=0,
    )
    warm_start_learning_rate: float = setting(
        5e-4, "size of Adam's steps in the warm start; they grow, then shrink to zero", at_least=0
    )
    schedule: str = setting(
        "simultaneous",
        "who trains in an iteration; simultaneous: both sides; alternating: one side, by a fixed "
        "ratio; balance: the side that is behind (dynamic balance)",
        choices=("simultaneous", "alternating", "balance"),
    )
    ratio: str = setting("1:1", "schedule=alternating: iterations of generators:discriminators")
    balance_begin: int = setting(
        20, "schedule=balance: iterations before it first decides", at_least=0
    )
    balance_epoch: int = setting(
        1364,
        "schedule=balance: it starts again after this; the default is the report's epoch, 30 000 "
        "pairs divided by 22",
        "iterations",
        at_least=1,
    )
    balance_turns: str = setting(
        "anew",
        "schedule=balance: how a new ratio begins; anew: with its first turn; by_iteration: with "
        "the turn that belongs to the iteration's number",
        choices=("anew", "by_iteration"),
    )
    unfreeze_discriminators: bool = setting(
        False, "true computes gradients that nothing uses, as the report's code does"
    )
    precision: str = setting(
        "float32",
        "numbers that the networks compute with; auto: bfloat16 if the processor has units for "
        "it, which is faster, else float32",
        choices=("float32", "bfloat16", "float16", "auto"),
        first=True,
    )
    distribute: str = setting(
        "none",
        "mirrored uses every GPU of this machine, multi_worker the machines that TF_CONFIG lists",
        choices=("none", "mirrored", "multi_worker"),
    )


@dataclass
class Output:
    """Output."""

    eval_step: int = setting(
        1000, "iterations between evaluations, figures and checkpoints", "iterations", at_least=1
    )
    keep_checkpoints: int = setting(2, "number of the newest checkpoints that stay", at_least=1)
    verbose: bool = VERBOSE


# Dataclasses order their fields from the last base to the first.
@dataclass
class TrainConfig(Output, Optimization, Losses, Networks, Patches, Folders, Run):
    """Settings of `train.py`. If the paper names a value, it is the default."""


@dataclass
class TestConfig:
    """Settings of `test_model.py`: own photos (`input`), or the authors' DPED test photos."""

    model: str = setting(
        "",
        "run, run folder, .keras or .tflite file, or TF 1 checkpoint, by default the model that "
        "comes with the project; for DPED's photos a phone (iphone, blackberry, sony) or the "
        "authors' trained model of it (iphone_orig, …)",
        first=True,
    )

    # Own photos.
    input: str | None = setting(
        None, "your photo, folder of photos, or pattern such as day*/*.jpg", first=True
    )
    output: str = setting("visual_results", "folder for the results", first=True)
    target: str | None = setting(
        None, "good photo, or folder of good photos of the same names, to score against", first=True
    )
    strength: float = setting(
        1.0, "share of the enhanced photo in the result", at_least=0, at_most=1, first=True
    )
    tone: float = setting(
        1.0, "factor on the change of color and brightness", at_least=0, at_most=2
    )
    detail: float = setting(
        1.0, "factor on the change of sharpness and texture", at_least=0, at_most=2
    )
    format: str = setting(
        "png", "format of the results; same keeps the input's", choices=("png", "same"), first=True
    )
    quality: int = setting(
        95,
        "quality of results that are neither PNG nor TIFF",
        "1 to 100",
        at_least=1,
        at_most=100,
        first=True,
    )
    overwrite: bool = setting(
        False, "whether results that exist already are made again", first=True
    )
    report: bool = setting(False, "whether report.html shows the results under sliders", first=True)
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
        "whole: one pass; streamed: part by part, with the same result; auto: whole if that fits "
        "into memory_limit, else streamed",
        choices=("auto", "whole", "streamed"),
    )
    memory_limit: str = setting(
        "auto",
        "memory that the whole process may use; mode=auto depends on it; auto is half of the "
        "memory that is available",
        "GB",
        first=True,
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
    use_gpu: bool = setting(True, "whether to use a GPU, if there is one")
    models_orig_dir: str = setting("models_orig", "folder of the authors' trained models")
    verbose: bool = VERBOSE


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
        "formats to write; float32, float16: weights of 32 or 16 bits; dynamic: 8-bit weights; "
        "int8: 8-bit weights and activations; both leave the first and the last layer in float32",
    )
    height: int = setting(
        0, "height of the photos or tiles that the file takes; 0: any", "pixels", at_least=0
    )
    width: int = setting(
        0, "width of the photos or tiles that the file takes; 0: any", "pixels", at_least=0
    )
    io: str = setting(
        "float32",
        "values that the file reads and writes: float32 in [0, 1], or bytes; it clips and rounds "
        "bytes itself",
        choices=("float32", "uint8"),
    )
    export_norm: str = setting(
        "auto",
        "adaptive: the file takes tiles of height × width (by default 256), and has a second "
        "function that measures the photo for the norms; live: the norms measure the picture that "
        "they are given; frozen: the norms use their average over the calibration photos; auto: "
        "adaptive if height and width are given, else live",
        choices=("auto", "adaptive", "live", "frozen"),
    )
    calibration_dir: str | None = setting(
        None, "photos from which int8 and frozen norms take their ranges; by default the sample's"
    )
    val_dir: str | None = setting(
        None, "other photos, with which the files are verified; by default the sample's"
    )
    val_target_dir: str | None = setting(
        None,
        "with export_norm=frozen: good photos with the names of val_dir's, to score what frozen "
        "norms cost",
    )
    overwrite: bool = setting(False, "whether files that exist already are replaced")
    force: bool = setting(False, "whether files that fail their verification are written too")
    models_orig_dir: str = setting("models_orig", "folder of the authors' trained models")
    verbose: bool = VERBOSE
