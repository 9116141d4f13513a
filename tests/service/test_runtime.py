import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from service import runtime
from service.manifest import BundleError, Operation, Tensor
from service.registry import Registry
from service.runtime import Graph
from tests.service import bundles
from tests.service.bundles import OPSET, Net
from tests.service.server import ROOT

X = Tensor(name="x", dtype="float32", shape=("N", 2))
Y = Tensor(name="y", dtype="float32", shape=("N", 2))


def operation(inputs: Sequence[Tensor] = (X,), outputs: Sequence[Tensor] = (Y,)) -> Operation:
    return Operation(graph="tiny.onnx", inputs=tuple(inputs), outputs=tuple(outputs))


def doubling() -> ModelProto:
    """y = 2 x"""
    net = Net(0)
    net.add("Mul", "x", net.constant(np.array([2], np.float32)), to="y")
    return net.model([X], [Y])


def open_(model: ModelProto, what: Operation | None = None, opset: int = OPSET) -> Graph:
    return Graph.open(model.SerializeToString(), what or operation(), opset)


def rows(tensors: Sequence[Tensor], n: int) -> dict[str, Any]:
    random = np.random.RandomState(7)
    feed: dict[str, Any] = {}
    for t in tensors:
        shape = (n, *(int(size) for size in t.shape[1:]))
        if t.dtype == "int64":
            feed[t.name] = random.randint(0, len(bundles.CLASS_NAMES), shape)
        else:
            feed[t.name] = random.uniform(size=shape).astype(np.float32)
    return feed


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_is_bit_equal_in_any_batch_and_at_any_place(registry: Registry, threads: int) -> None:
    order = np.random.RandomState(1).permutation(64)
    checked = 0
    for model in registry.models():
        for operation in model.manifest.operations.values():
            path = model.folder / operation.graph
            graph = Graph.open(path, operation, model.manifest.opset, threads=threads)
            feed = rows(operation.inputs, 64)
            whole = graph.run(**feed)
            for n in (1, 2, 7, 33):
                parts = graph.run(**{name: array[64 - n :] for name, array in feed.items()})
                assert [p.tobytes() for p in parts] == [w[64 - n :].tobytes() for w in whole]
            moved = graph.run(**{name: array[order] for name, array in feed.items()})
            assert [m.tobytes() for m in moved] == [w[order].tobytes() for w in whole]
            checked += 1
    assert checked == 14


def test_outputs_come_in_the_order_of_the_manifest() -> None:
    net = Net(0)
    net.add("Add", "x", net.constant(np.array([1], np.float32)), to="more")
    net.add("Neg", "x", to="less")
    more, less = (Tensor(name=name, dtype="float32", shape=("N", 2)) for name in ("more", "less"))
    graph = open_(net.model([X], [more, less]), operation(outputs=[less, more]))
    got = graph.run(x=np.array([[1, 2]], np.float32))
    np.testing.assert_array_equal(got, [[[-1, -2]], [[2, 3]]])


def test_no_rows_give_no_rows() -> None:
    (y,) = open_(doubling()).run(x=np.empty((0, 2), np.float32))
    assert y.shape == (0, 2)
    assert y.dtype == np.float32


class Bound:
    """Stands in for a session's binding: keeps how many rows each tensor has."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    def bind_input(self, name: str, *place: Any) -> None:
        self.rows[name] = place[3][0]

    bind_output = bind_input


class Recorder:
    """Stands in for a session: doubles `x`, and keeps how many rows each run had."""

    def __init__(self, short: bool = False) -> None:
        self.ran: list[int] = []
        self._short = short

    def run(self, names: Sequence[str], feed: Mapping[str, Any], _options: Any = None) -> list[Any]:
        assert list(names) == ["y"]
        assert feed["x"].flags.c_contiguous
        self.ran.append(len(feed["x"]))
        return [2 * feed["x"][: 1 if self._short else None]]

    def io_binding(self) -> Bound:
        return Bound()

    def run_with_iobinding(self, binding: Bound, _options: Any) -> None:
        assert list(binding.rows) == ["x", "y"]
        self.ran.append(binding.rows["x"])


def test_many_rows_run_in_parts() -> None:
    session = Recorder()
    x = np.arange(40, dtype=np.float32).reshape(2, 20).T  # not contiguous
    (y,) = Graph(session, operation(), session_rows=8).run(x=x)
    assert session.ran == [8, 8, 4]
    np.testing.assert_array_equal(y, 2 * x)


def test_a_session_keeps_no_copy_of_its_file() -> None:
    data = doubling().SerializeToString()
    before = sys.getrefcount(data)
    graph = Graph.open(data, operation(), OPSET)
    assert sys.getrefcount(data) == before
    assert graph.run(x=np.ones((1, 2), np.float32))[0].tolist() == [[2, 2]]


def test_what_a_run_took_is_given_back_when_it_is_asked_for() -> None:
    """In a process of its own: the arena is shared by all graphs."""
    script = """
import re, sys
from pathlib import Path
import numpy as np
from service import runtime
from tests.service.test_runtime import doubling, open_

def mib():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

graph = open_(doubling())
graph.warm_up()
graph.run_images = graph.session_rows = 4_000_000
x = np.zeros((graph.run_images, 2), np.float32)
before = mib()
graph.run(x=x)
held = mib()
runtime.give_back()
print(held - before, mib() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    held, left = map(float, done.stdout.split())
    assert held > 20
    assert left < 5


def test_memory_is_given_back_and_a_graph_opened_when_no_run_takes_any() -> None:
    began, ends = threading.Event(), threading.Event()

    class Slow(Recorder):
        def run(self, names: Sequence[str], feed: Mapping[str, Any], _options: Any = None) -> list[Any]:
            began.set()
            assert ends.wait(10)
            return super().run(names, feed)

    tried = Graph(Recorder(), operation(), session_rows=8)
    tried.warm_up()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(Graph(Slow(), operation(), session_rows=8).run, x=np.ones((3, 2), np.float32))
        assert began.wait(10)
        others: list[Future[Any]] = [pool.submit(runtime.give_back), pool.submit(open_, doubling())]
        assert not wait(others, timeout=0.2).done
        assert not running.done()
        ends.set()
        assert len(wait([running, *others], timeout=10).done) == 3
    assert isinstance(others[1].result(), Graph)


def test_a_large_graph_is_opened_beside_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = doubling()
    monkeypatch.setattr(runtime, "OPENED_ALONE_BYTES", len(model.SerializeToString()) - 1)
    with runtime._RUNNING:
        assert isinstance(open_(model), Graph)


def test_a_graph_is_opened_also_where_another_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recorder):
        def run_with_iobinding(self, binding: Bound, _options: Any) -> None:
            raise RuntimeError("no memory")

    monkeypatch.setattr(runtime, "_tried", {Graph(Broken(), operation(), session_rows=8)})
    assert open_(doubling()).run(x=np.ones((1, 2), np.float32))[0].tolist() == [[2, 2]]
    assert "memory could not be given back" in caplog.text


def test_warm_up_runs_one_row_and_a_full_part() -> None:
    session = Recorder()
    Graph(session, operation(), session_rows=8).warm_up()
    assert session.ran == [1, 8]


def test_an_output_with_too_few_rows_is_not_handed_to_all() -> None:
    with pytest.raises(RuntimeError, match=r"tiny.onnx: gave shape \(1, 2\), expected \(3, 2\)"):
        Graph(Recorder(short=True), operation(), session_rows=8).run(x=np.ones((3, 2), np.float32))


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"z": np.ones((1, 2), np.float32)}, r"takes \['x'\], got \['z'\]"),
        ({}, r"takes \['x'\], got \[\]"),
        ({"x": np.ones((1, 2))}, r"x must be float32 \(1, 2\), got float64 \(1, 2\)"),
        ({"x": np.ones((4, 3), np.float32)}, r"x must be float32 \(4, 2\), got float32 \(4, 3\)"),
        ({"x": np.ones((2, 1, 2), np.float32)}, r"got float32 \(2, 1, 2\)"),
    ],
)
def test_wrong_inputs_are_refused(inputs: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        open_(doubling()).run(**inputs)


def test_inputs_must_have_as_many_rows_as_each_other(registry: Registry) -> None:
    graph = registry.get("tiny-cgan").graph("generate")
    with pytest.raises(ValueError, match=r"label must be int64 \(2,\), got int64 \(3,\)"):
        graph.run(z=np.ones((2, bundles.DIM), np.float32), label=np.ones(3, np.int64))


def test_threads_share_a_graph(registry: Registry) -> None:
    graph = registry.get("tiny-rgb").graph("generate")
    feeds = [np.full((5, bundles.DIM), i / 10, np.float32) for i in range(32)]
    expected = [graph.run(z=z)[0].tobytes() for z in feeds]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda z: graph.run(z=z)[0].tobytes(), feeds)) == expected


def renamed(dtype: Any = "float32", name: str = "y", shape: tuple[Any, ...] = ("N", 2)) -> Operation:
    return operation(outputs=[Tensor(name=name, dtype=dtype, shape=shape)])


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (renamed(name="z"), r"outputs are \['y'\]; the manifest says \['z'\]"),
        (renamed(dtype="int64"), r"output y is tensor\(float\); the manifest says int64"),
        (renamed(shape=("N", 3)), r"output y has shape \['N', 2\]; the manifest says \['N', 3\]"),
        (renamed(shape=("N", 2, 1)), r"output y has shape"),
        (operation(inputs=[X, Y]), r"inputs are \['x'\]; the manifest says \['x', 'y'\]"),
    ],
)
def test_a_graph_that_is_not_the_manifests_is_refused(what: Operation, reason: str) -> None:
    with pytest.raises(BundleError, match="^tiny.onnx: " + reason):
        open_(doubling(), what)


def test_a_graph_for_one_batch_size_is_refused() -> None:
    model = doubling()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    with pytest.raises(BundleError, match=r"input x has shape \[4, 2\]"):
        open_(model)


@pytest.mark.parametrize("opset", [OPSET + 1, OPSET - 1])
def test_another_opset_than_the_manifests_is_refused(opset: int) -> None:
    with pytest.raises(BundleError, match=rf"imports opset \[{OPSET}\]; the manifest says {opset}"):
        open_(doubling(), opset=opset)


def test_only_the_opset_of_onnx_itself_counts() -> None:
    model = doubling()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert open_(model).run(x=np.ones((1, 2), np.float32))[0].tolist() == [[2, 2]]
    del model.opset_import[0]
    with pytest.raises(BundleError, match="imports opset none"):
        open_(model)


def outside(name: str = "w") -> TensorProto:
    """A tensor kept in another file."""
    tensor: TensorProto = numpy_helper.from_array(np.ones(2, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return tensor


def in_initializer(model: ModelProto) -> None:
    model.graph.initializer.append(outside())


def in_constant(model: ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=outside()))


def in_branch(model: ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [outside()])
    model.graph.node.insert(0, helper.make_node("If", ["x"], [], then_branch=branch, else_branch=branch))


def in_sparse(model: ModelProto) -> None:
    indices = numpy_helper.from_array(np.array([0, 1]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(outside(), indices, [2]))


def in_function(model: ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=outside())
    model.functions.append(helper.make_function("d", "f", [], ["c"], [node], model.opset_import))


def by_location_alone(model: ModelProto) -> None:
    tensor = outside()
    tensor.ClearField("external_data")
    model.graph.initializer.append(tensor)


def by_reference_alone(model: ModelProto) -> None:
    tensor = outside()
    tensor.ClearField("data_location")
    model.graph.initializer.append(tensor)


@pytest.mark.parametrize(
    "put",
    [
        in_initializer,
        in_constant,
        in_branch,
        in_sparse,
        in_function,
        by_location_alone,
        by_reference_alone,
    ],
)
def test_data_in_other_files_is_refused(put: Any) -> None:
    model = doubling()
    put(model)
    with pytest.raises(BundleError, match=r"tiny.onnx: keeps tensors in other files"):
        open_(model)


def test_every_way_to_a_tensor_is_searched() -> None:
    """The table of the walk is what onnx.proto says, less messages that hold no tensor."""
    fields: dict[str, dict[int, str]] = {}
    todo = [onnx.ModelProto.DESCRIPTOR]
    while todo:
        message = todo.pop()
        if message.name not in fields:
            inner = [field for field in message.fields if field.message_type]
            fields[message.name] = {field.number: field.message_type.name for field in inner}
            todo += [field.message_type for field in inner]
    leading = {"TensorProto"}
    while more := {name for name, inner in fields.items() if leading & set(inner.values())} - leading:
        leading |= more
    expected = {
        name: {number: kind for number, kind in fields[name].items() if kind in leading}
        for name in leading - {"TensorProto"}
    }
    assert expected == runtime._MESSAGES


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80", b"PK\x03\x04 this is a zip", b"\xff" * 40, doubling().SerializeToString()[:-7]],
    ids=["empty", "half a varint", "zip", "ones", "cut short"],
)
def test_what_is_no_onnx_file_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^tiny\.onnx: "):
        Graph.open(data, operation(), OPSET)


def test_an_operator_that_onnxruntime_does_not_know_is_refused() -> None:
    model = doubling()
    model.graph.node[0].op_type = "Multiply"
    with pytest.raises(BundleError, match=r"tiny\.onnx: onnxruntime refuses it: .*Multiply"):
        open_(model)
