"""ONNX and OpenVINO files of other make and of ill will: free sizes run, the rest is refused in one line, at once."""

import os

import numpy as np
import onnx
import openvino as ov
import pytest
from conftest import noise_picture
from onnx import TensorProto, helper, numpy_helper

from gccpm_lib.datasets.records import DataError
from gccpm_lib.export import files as exporting
from gccpm_lib.export.engines import open_predictor

WEIGHTS = np.random.default_rng(0).normal(0, 0.1, (17, 3, 8, 8)).astype(np.float32)
OUTPUT = "stage_0_output_1_heatmaps"


def model(weights=None, sides=("n", 3, "h", "w"), before=(), initializers=()) -> onnx.ModelProto:
    """One convolution of stride 8."""
    convolution = helper.make_node("Conv", ["data", "w"], [OUTPUT], strides=[8, 8], kernel_shape=[8, 8])
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("data", sides), (OUTPUT, ("n", 17, None, None)))
    ]
    held = [weights or numpy_helper.from_array(WEIGHTS, "w"), *initializers]
    graph = helper.make_graph([*before, convolution], "g", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def written(path, content: onnx.ModelProto):
    path.write_bytes(content.SerializeToString())
    return path


def predicted(path, size=(64, 64)) -> np.ndarray:
    return open_predictor(path, recipe="lip-published", input_size=size).predict(noise_picture(60, 50))


def outside(location: str, offset="0", length=str(WEIGHTS.nbytes)) -> TensorProto:
    """The weights in another file."""
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


@pytest.mark.parametrize("suffix", [".onnx", ".ONNX", ".xml", ".XML"])
def test_a_free_side_takes_any_size_and_a_suffix_any_case(tmp_path, suffix):
    fixed, free = written(tmp_path / "fixed.onnx", model(sides=(1, 3, 64, 64))), written(tmp_path / "free.onnx", model())
    if suffix.lower() == ".xml":
        ov.save_model(ov.convert_model(free), tmp_path / "free.part.xml", compress_to_fp16=False)
        (tmp_path / "free.part.bin").rename(tmp_path / "free.bin")
        free = tmp_path / "free.part.xml"
    free = free.rename(tmp_path / f"free{suffix}")
    np.testing.assert_allclose(predicted(free), predicted(fixed), atol=1e-4)
    assert predicted(free, (96, 96)).shape == (1, 16, 3)
    assert open_predictor(free, recipe="lip-published").recipe.input_size == (256, 256)
    with pytest.raises(ValueError, match="takes 64 x 64 pixels, not 96 x 96"):
        predicted(fixed, (96, 96))


@pytest.mark.parametrize(
    "weights",
    [
        outside("../w.bin"),
        outside("/etc/passwd"),
        outside("/dev/zero"),
        outside("none.bin"),
        outside("pipe"),
        outside("link"),
        outside("w.bin", length="1000000000000"),
        outside("w.bin", length="8"),
        outside("w.bin", offset="-8"),
        outside("w.bin", offset="x"),
    ],
    ids=lambda weights: " ".join(entry.value for entry in weights.external_data),
)
def test_weights_in_another_file_must_lie_beside_it_and_be_whole(tmp_path, weights):
    folder = tmp_path / "in"
    folder.mkdir()
    for path in (folder / "w.bin", tmp_path / "w.bin"):
        path.write_bytes(WEIGHTS.tobytes())
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(tmp_path / "w.bin")
    assert predicted(written(folder / "good.onnx", model(outside("w.bin")))).shape == (1, 16, 3)
    with pytest.raises(DataError, match=r"bad\.onnx: .*; export it again"):
        predicted(written(folder / "bad.onnx", model(weights)))


def test_a_graph_that_claims_to_fill_the_memory_is_refused(tmp_path):
    shape = numpy_helper.from_array(np.array([17, 200_000, 200_000], np.int64), "shape")
    big = helper.make_node("ConstantOfShape", ["shape"], ["big"])
    lying = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[17, 3, 10**6, 10**6])
    for content in (model(before=[big], initializers=[shape]), model(lying)):
        with pytest.raises(DataError, match=r"a\.onnx: claims [0-9,]{15,} numbers for one of its values"):
            predicted(written(tmp_path / "a.onnx", content))


def test_a_graph_that_may_never_end_is_refused(tmp_path):
    true, count = numpy_helper.from_array(np.array(True), "true"), numpy_helper.from_array(np.array(2**62), "count")
    ends = [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("x", TensorProto.FLOAT, None)]
    inputs = [helper.make_tensor_value_info(*end) for end in ends]
    outputs = [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("y", 1, None)]
    nodes = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["x", "x"], ["y"])]
    loop = helper.make_node("Loop", ["count", "true", "data"], ["z"], body=helper.make_graph(nodes, "b", inputs, outputs))
    path = written(tmp_path / "a.onnx", model(before=[loop], initializers=[true, count]))
    with pytest.raises(DataError, match=r"a\.onnx: has Loop, which no network of this kind needs"):
        predicted(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "3", "{", '"a"'], ids=["deep", "number", "cut off", "text"])
def test_what_a_file_says_about_itself_is_no_code_and_no_trap(tmp_path, text):
    content = model()
    onnx.helper.set_model_props(content, {exporting.DESCRIPTION: text})
    with pytest.raises(DataError, match=r"a\.onnx: what it says about itself is no JSON object"):
        open_predictor(written(tmp_path / "a.onnx", content))


ENTITIES = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa">{}<!ENTITY x SYSTEM "file:///etc/passwd">]>\n'.format(
    "".join(f'<!ENTITY {b} "{10 * f"&{a};"}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
)


def test_entities_of_an_xml_file_are_neither_opened_nor_unfolded(tmp_path):
    """A billion letters, and a file elsewhere, in a network's name: it stays as it is written."""
    ov.save_model(ov.convert_model(written(tmp_path / "a.onnx", model(sides=(1, 3, 64, 64)))), tmp_path / "a.xml")
    xml = (tmp_path / "a.xml").read_text()
    start = xml.index("<net")
    (tmp_path / "a.xml").write_text(xml[:start] + ENTITIES + xml[start:].replace('name="', 'name="&i;&x;', 1))
    found = exporting.read_openvino(tmp_path / "a.xml")
    assert len(found.get_friendly_name()) < 100 and "root" not in found.get_friendly_name()
    assert predicted(tmp_path / "a.xml").shape == (1, 16, 3)


def test_weights_of_an_ir_that_are_shorter_than_told_are_refused(tmp_path):
    ov.save_model(ov.convert_model(written(tmp_path / "a.onnx", model(sides=(1, 3, 64, 64)))), tmp_path / "a.xml")
    (tmp_path / "a.bin").write_bytes((tmp_path / "a.bin").read_bytes()[:100])
    with pytest.raises(DataError, match=r"a\.xml: not a readable OpenVINO model"):
        predicted(tmp_path / "a.xml")
    (tmp_path / "a.bin").unlink()
    os.mkfifo(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a\.bin is missing beside it"):
        predicted(tmp_path / "a.xml")
