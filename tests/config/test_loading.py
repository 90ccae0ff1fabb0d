"""Settings: defaults, presets, `key=value`, and a clear line for every mistake."""

import dataclasses

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared import ROOT
from wespe_tf.config.loading import load, preset_names, to_yaml
from wespe_tf.config.schema import TestConfig as EnhanceConfig
from wespe_tf.config.schema import TrainConfig
from wespe_tf.config.setting import RETIRED
from wespe_tf.errors import UserError
from wespe_tf.models.options import LOSSES

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}


def train_config(*arguments):
    return load(TrainConfig, list(arguments))


def message(*arguments, schema=TrainConfig):
    """The error's text, which is one line."""
    with pytest.raises(UserError) as caught:
        load(schema, list(arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestPrecedence:
    def test_quickstart_is_the_default_preset(self):
        assert train_config() == train_config("preset=quickstart")
        assert train_config().content_features == "pixels"

    @pytest.mark.parametrize("given", ["source_dir=photos", "target_dir=photos", "model=iphone"])
    def test_with_photos_the_default_preset_is_recommended(self, given):
        assert train_config(given) == train_config("preset=recommended", given)
        assert train_config(given).preset == "recommended"

    def test_a_preset_based_on_another_overrides_it(self, tmp_path):
        (tmp_path / "base.yaml").write_text("batch_size: 7\nblur: dped_code\n")
        (tmp_path / "mine.yaml").write_text(f"based_on: {tmp_path / 'base.yaml'}\nbatch_size: 9\n")
        config = train_config(f"preset={tmp_path / 'mine.yaml'}")
        assert (config.batch_size, config.blur) == (9, "dped_code")
        assert config.preset == str(tmp_path / "mine.yaml")

    def test_preset_overrides_the_defaults(self, tmp_path):
        (tmp_path / "mine.yaml").write_text("batch_size: 7\nblur: dped_code\n")
        config = train_config(f"preset={tmp_path / 'mine.yaml'}")
        assert (config.batch_size, config.blur) == (7, "dped_code")
        assert config.num_train_iters == FIELDS["num_train_iters"].default

    @pytest.mark.parametrize("first", [True, False], ids=["preset first", "preset last"])
    def test_command_line_overrides_the_preset(self, tmp_path, first):
        (tmp_path / "mine.yaml").write_text("batch_size: 7\nblur: dped_code\n")
        arguments = [f"preset={tmp_path / 'mine.yaml'}", "batch_size=9"]
        config = train_config(*(arguments if first else arguments[::-1]))
        assert (config.batch_size, config.blur) == (9, "dped_code")

    def test_the_last_of_equal_keys_wins(self):
        assert train_config("batch_size=3", "batch_size=4").batch_size == 4

    @pytest.mark.parametrize("dashes", ["-", "--"])
    def test_dashes_before_a_key_are_allowed(self, dashes):
        assert train_config(f"{dashes}batch_size=3").batch_size == 3


class TestPresets:
    @pytest.mark.parametrize("name", preset_names())
    def test_loads_and_says_nothing_twice_that_config_forbids(self, name):
        config = train_config(f"preset={name}")
        assert config.preset == name

    def test_the_two_presets_of_the_readme_exist(self):
        assert {"quickstart", "wespe"} <= set(preset_names())

    def test_wespe_is_the_paper(self):
        config = train_config("preset=wespe")
        paper = {
            "w_content": 1,
            "w_color": 5e-3,
            "w_texture": 5e-3,
            "w_tv": 10,
            "w_guide": 0,
            "patch_size": 100,
            "batch_size": 30,
            "num_train_iters": 20000,
            "learning_rate": 5e-4,
            "discriminator_learning_rate": 5e-4,
            "content_features": "vgg19",
            "content_layer": "relu5_4",
            "content_normalise": False,
            "blur": "paper",
            "generator_width": 64,
            "generator_blocks": 4,
            "generator_norm": "instance",
            "tanh_scale": 0.58,
            "discriminator_width": 1,
            "warm_start_iters": 0,
            "border": 0,
            "ema": 0,
        }
        assert {name: getattr(config, name) for name in paper} == paper

    def test_quickstart_trains_at_full_width(self):
        config = train_config()
        assert (config.generator_width, config.discriminator_width) == (64, 1)


class TestValues:
    @pytest.mark.parametrize(
        "text, expected",
        [("5e-4", 5e-4), ("5E-4", 5e-4), ("1e2", 100.0), (".5", 0.5), ("2", 2.0), ("0.25", 0.25)],
    )
    def test_numbers(self, text, expected):
        value = train_config(f"learning_rate={text}").learning_rate
        assert value == expected and type(value) is float

    @pytest.mark.parametrize("text", ["5e-4", "5.0e-4"])
    def test_numbers_in_a_preset(self, tmp_path, text):
        """YAML 1.1 itself reads 5e-4, without a point, as text."""
        (tmp_path / "mine.yaml").write_text(f"learning_rate: {text}\n")
        assert train_config(f"preset={tmp_path / 'mine.yaml'}").learning_rate == 5e-4

    @pytest.mark.parametrize(
        "key, text",
        [
            ("run", "001"),
            ("run", "1e5"),
            ("run", "true"),
            ("run", "2024-01-01"),
            ("model", "iphone"),
            ("source_dir", "12"),
            ("source_dir", "a=b"),
            ("source_dir", "photos [new]"),
            ("vgg_weights", "null"),
            ("dped_dir", "~"),
        ],
    )
    def test_text_settings_stay_as_they_are_written(self, key, text):
        assert getattr(train_config(f"{key}={text}"), key) == text

    @pytest.mark.parametrize("text", ["null", "none", "None"])
    def test_optional_text_can_be_taken_back(self, tmp_path, text):
        (tmp_path / "mine.yaml").write_text("source_dir: phone\n")
        config = train_config(f"preset={tmp_path / 'mine.yaml'}", f"source_dir={text}")
        assert config.source_dir is None

    @pytest.mark.parametrize("text, expected", [("true", True), ("false", False), ("yes", True)])
    def test_booleans(self, text, expected):
        assert train_config(f"content_normalise={text}").content_normalise is expected

    def test_warnings_do_not_greet_a_valid_command_line(self, recwarn):
        train_config("preset=wespe", "w_tv=10", "ema=0", "batch_size=4", "content_normalise=yes")
        assert [str(w.message) for w in recwarn] == []

    def test_the_authors_name_of_the_vgg_setting_works(self):
        assert train_config("vgg_dir=vgg.mat").vgg_weights == "vgg.mat"


class TestMistakes:
    @pytest.mark.parametrize(
        "key, nearest",
        [
            ("batchsize", "batch_size"),
            ("w_colour", "w_color"),
            ("learning_rat", "learning_rate"),
            ("num_iters", "num_train_iters"),
        ],
    )
    def test_unknown_key_names_the_nearest(self, key, nearest):
        assert message(f"{key}=3") == f"unknown setting {key!r}; did you mean {nearest!r}?"

    def test_unknown_key_like_no_other(self):
        assert message("xyzzy=3") == "unknown setting 'xyzzy'"

    @pytest.mark.parametrize("argument", ["batch_size", "=3", ""])
    def test_argument_without_key_or_value(self, argument):
        assert message(argument) == f"{argument!r}: expected key=value; --help lists the keys"

    @pytest.mark.parametrize(
        "argument, expected",
        [
            ("batch_size=many", "batch_size=many: expected int"),
            ("batch_size=2.5", "batch_size=2.5: expected int"),
            ("batch_size=true", "batch_size=true: expected int"),
            ("batch_size=[1, 2]", "batch_size=[1, 2]: expected int"),
            ("batch_size=", "batch_size=None: expected int"),
            ("batch_size=null", "batch_size=None: expected int"),
            ("learning_rate=fast", "learning_rate=fast: expected float"),
            ("learning_rate=1,5", "learning_rate=1,5: expected float"),
            ("content_normalise=maybe", "content_normalise=maybe: expected bool"),
            ("w_tv=???", "w_tv=???: expected float"),
        ],
    )
    def test_bad_type(self, argument, expected):
        # YAML turns `true` into a Python value before it is checked.
        assert message(argument).lower() == expected.lower()

    @pytest.mark.parametrize(
        "argument, bounds",
        [
            ("batch_size=0", "at least 1"),
            ("patch_size=8", "at least"),
            ("w_tv=-0.1", "at least 0"),
            ("w_tv=nan", "at least 0"),
            ("w_tv=.nan", "at least 0"),
            ("learning_rate=inf", "below inf"),
            ("num_train_iters=0", "at least 1"),
            ("seed=-1", "at least 0"),
            ("seed=99999999999999999999", "below 4294967296"),
            ("ema=1", "below 1"),
            ("discriminator_beta_1=1.5", "below 1"),
            ("discriminator_width=0", "at least 0.02"),
            ("generator_width=3", "at least 4"),
            ("tanh_scale=0.4", "at least 0.5"),
            ("view_share=50", "at least 0 and at most 1"),
            ("batch_size='-5'", "at least 1"),
        ],
    )
    def test_out_of_range(self, argument, bounds):
        text = message(argument)
        assert text.startswith(argument.split("=")[0] + "=")
        assert bounds in text

    @pytest.mark.parametrize(
        "argument, nearest",
        [
            ("blur=papper", "paper"),
            ("precision=bf16", "bfloat16"),
            ("generator_norm=instanse", "instance"),
            ("content_layer=relu5_5", "relu5_4"),
            ("discriminator_head=two_class", "two_class_softmax"),
        ],
    )
    def test_bad_choice_lists_the_choices(self, argument, nearest):
        key = argument.split("=")[0]
        choices = ", ".join(FIELDS[key].metadata["choices"])
        text = message(argument)
        assert text.startswith(f"{argument}: expected one of {choices}; did you mean '")
        assert nearest in text

    def test_spectral_norm_is_for_discriminators(self):
        assert train_config("color_norm=spectral").color_norm == "spectral"
        assert "expected one of instance, batch, layer, none" in message("generator_norm=spectral")

    def test_preset_based_on_itself(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text(f"based_on: {path}\n")
        assert message(f"preset={path}") == f"preset={path}: based on itself"

    def test_preset_based_on_one_that_is_not_there(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text("based_on: wesp\n")
        assert message(f"preset={path}") == "preset=wesp: no such preset; did you mean 'wespe'?"

    def test_missing_preset_names_the_nearest(self):
        text = message("preset=quikstart")
        assert text == "preset=quikstart: no such preset; did you mean 'quickstart'?"

    @pytest.mark.parametrize("name", ["", "../wespe", "nowhere.yaml"])
    def test_preset_that_is_no_file(self, name):
        assert message(f"preset={name}").startswith(f"preset={name}: no such preset")

    @pytest.mark.parametrize("key", ["preset", "config"])
    @pytest.mark.parametrize(
        "content, expected",
        [
            (b"batchsize: 3\n", "unknown setting 'batchsize'; did you mean 'batch_size'?"),
            (b"batch_size: none\n", "batch_size=none: expected int"),
            (b"batch_size: 0\n", "batch_size=0: expected at least 1"),
            (b"batch_size: {a: 1}\n", "batch_size: expected one value"),
            (b"batch_size: 2001-13-99\n", "not a readable YAML file (month must be in 1..12)"),
            (b"batch_size: !!int ''\n", "not a readable YAML file"),
            (b"batch_size: !!bool x\n", "not a readable YAML file"),
            (b"batch_size: !!timestamp x\n", "not a readable YAML file"),
            (b"batch_size: " + b"9" * 5000, "not a readable YAML file"),
            (b"seed: 0x" + b"f" * 5000, "seed: expected a number below 2^63"),
            (b"batch_size: !!python/object/apply:os.getcwd []\n", "not a readable YAML file"),
            (b"blur: " + b"a" * 5000, "aaa: expected one of dped_code"),
            (b"run: ${oc.env:HOME}\n", "run=${oc.env:HOME}: expected a value without ${"),
            (b"- batch_size\n", "expected `setting: value` lines"),
            (b"3: 4\n", "expected `setting: value` lines"),
            (b"", "expected `setting: value` lines"),
            (b"a: [\n", "not a readable YAML file"),
            (b"\x00\xff", "not a readable YAML file"),
        ],
    )
    def test_bad_file_is_named(self, tmp_path, key, content, expected):
        path = tmp_path / "mine.yaml"
        path.write_bytes(content)
        text = message(f"{key}={path}")
        assert str(path) in text and expected in text
        assert len(text) < 500

    def test_missing_config_file(self, tmp_path):
        text = message(f"config={tmp_path / 'gone.yaml'}")
        assert text.startswith(f"config={tmp_path / 'gone.yaml'}: not a readable YAML file")

    def test_lists_within_lists_take_no_time(self, tmp_path):
        """Each line doubles what the one before stands for."""
        path = tmp_path / "mine.yaml"
        lines = ["a0: &a0 [x, x]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, 40))]
        path.write_text("\n".join([*lines, "batch_size: *a39"]))
        assert message(f"config={path}").endswith("a0: expected one value")


class TestAnything:
    """Whatever is given: settings whose file repeats them, or one line."""

    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
    values = st.recursive(
        scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3)
    )
    keys = st.sampled_from([*FIELDS, "based_on"]) | st.text()

    @staticmethod
    def loaded_or_refused(path, *arguments):
        try:
            config = train_config(*arguments)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            assert len(str(error)) <= 1000
        else:
            path.write_text(to_yaml(config), encoding="utf-8")
            assert train_config(f"config={path}") == config

    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory):
        return tmp_path_factory.mktemp("anything") / "mine.yaml"

    @pytest.mark.slow
    @settings(deadline=None, derandomize=True)
    @given(content=st.dictionaries(keys, values, max_size=4) | values)
    def test_in_a_file(self, path, content):
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        self.loaded_or_refused(path, f"config={path}")

    @settings(deadline=None, derandomize=True, max_examples=40)
    @given(arguments=st.lists(st.builds("{}={}".format, keys, scalars) | st.text(), max_size=4))
    def test_in_the_command(self, path, arguments):
        self.loaded_or_refused(path, *arguments)


class TestSmall:
    def test_a_preset_may_ask_for_it(self, tmp_path):
        (tmp_path / "mine.yaml").write_text("based_on: wespe\nscale: small\n")
        config = train_config(f"preset={tmp_path / 'mine.yaml'}", "batch_size=9")
        expected = train_config("preset=wespe", "scale=small", "batch_size=9")
        assert config == dataclasses.replace(expected, preset=config.preset)
        assert (config.patch_size, config.batch_size, config.generator_width) == (48, 9, 32)

    def test_the_command_line_may_take_it_back(self, tmp_path):
        (tmp_path / "mine.yaml").write_text("based_on: wespe\nscale: small\n")
        config = train_config(f"preset={tmp_path / 'mine.yaml'}", "scale=full")
        assert (config.scale, config.patch_size) == ("full", 100)

    @pytest.mark.parametrize("value", ["1e3", "", "many", "true", "2001-01-01x"])
    def test_a_bad_number_in_the_preset_is_named(self, tmp_path, value):
        path = tmp_path / "mine.yaml"
        path.write_text(f"num_train_iters: {value}\n")
        text = message(f"preset={path}", "scale=small")
        assert text.startswith(f"preset {path}: num_train_iters=") and "expected int" in text


class TestConfigFile:
    @pytest.mark.parametrize("argument", ["preset=wespe", "scale=small", "scale=full"])
    def test_what_its_settings_would_hide_is_refused(self, tmp_path, argument):
        path = tmp_path / "mine.yaml"
        path.write_text("batch_size: 3\n")
        key = argument.partition("=")[0]
        expected = f"{argument}: expected no {key}= together with config="
        assert message(f"config={path}", argument) == expected

    @pytest.mark.parametrize("line", ["", "preset: null\n"])
    def test_without_preset_the_run_is_named_after_it(self, tmp_path, line):
        path = tmp_path / "mine.yaml"
        path.write_text(f"batch_size: 3\n{line}")
        assert train_config(f"config={path}").preset == str(path)


class TestRoundTrip:
    def test_config_file_repeats_all_settings(self, tmp_path):
        config = train_config(
            "preset=wespe",
            "run=001",
            "learning_rate=3e-5",
            "source_dir=ä b",
            "target_dir=null",
            "content_normalise=true",
            "seed=7",
        )
        (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        assert train_config(f"config={tmp_path / 'config.yaml'}") == config

    def test_arguments_override_a_config_file(self, tmp_path):
        config = train_config("preset=wespe", "seed=7", "run=first")
        (tmp_path / "config.yaml").write_text(to_yaml(config))
        again = train_config(f"config={tmp_path / 'config.yaml'}", "run=second")
        assert again == dataclasses.replace(config, run="second")

    def test_every_setting_is_written(self):
        assert set(yaml.safe_load(to_yaml(train_config()))) == set(FIELDS)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_weight(name):
    assert FIELDS[f"w_{name}"].default == LOSSES[name].weight
    assert train_config("preset=report_fig2", f"w_{name}=0.7").weights[name] == 0.7
    assert "expected at least 0" in message(f"w_{name}=-1")


class TestRetired:
    """Settings of earlier versions, in the files that these wrote."""

    def test_their_default_is_passed_over(self):
        config = train_config(f"config={ROOT / 'wespe_tf' / 'weights' / 'phone_bench.yaml'}")
        assert config.preset == "recommended"
        assert not {field for field in FIELDS if field in RETIRED}

    @pytest.mark.parametrize("name", RETIRED)
    def test_another_value_is_refused(self, tmp_path, name):
        path = tmp_path / "config.yaml"
        path.write_text(f"{name}: {RETIRED[name]!r}\nbatch_size: 3\n")
        assert train_config(f"config={path}").batch_size == 3
        path.write_text(f"{name}: 0.123\n")
        assert message(f"config={path}") == (
            f"{path}: {name}=0.123: this setting was removed; expected {RETIRED[name]}, which now "
            "holds for all runs"
        )

    def test_on_the_command_line_they_are_unknown(self):
        assert message("balance_window=5").startswith("unknown setting 'balance_window'")


def test_other_schema_has_no_presets():
    config = load(EnhanceConfig, ["model=m", "input=i"])
    assert (config.model, config.input, config.target) == ("m", "i", None)
    assert message("preset=wespe", schema=EnhanceConfig).startswith("unknown setting 'preset'")
    assert "did you mean 'input'" in message("inputs=x", schema=EnhanceConfig)
