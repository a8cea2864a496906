from pathlib import Path

import pytest
import torch

from fxbin.errors import ConfigError
from fxbin.train.checkpoint import load_checkpoint
from fxbin.train.compiled import check_compiler
from fxbin.train.run import train
from tests.train.small_run import MODEL, InterruptedAt, small_run

# Dynamo itself makes the object it warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def test_compiled_steps_give_the_same_network_in_every_stage_with_the_same_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run(tmp_path)
    (tmp_path / "net.py").write_text(MODEL.replace("nn.Dropout(0.3), ", ""))
    eager = train(config, tmp_path / "eager")
    # Eager would be the fallback after too many versions: two in a stage, with the last, smaller batch.
    limit = torch._dynamo.config.patch(recompile_limit=4, fail_on_recompile_limit_hit=True)
    torch.compiler.reset()
    graphs: list[int] = []

    def counted(graph: torch.fx.GraphModule, _inputs: object) -> object:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: original(model, backend=counted))
    progress = InterruptedAt(11)
    with limit:
        with pytest.raises(KeyboardInterrupt):
            train(config | {"compile": True}, tmp_path / "compiled", progress=progress)
        compiled = train(config | {"compile": True}, tmp_path / "compiled")
    assert len(graphs) >= 4
    assert [r.loss for r in compiled.history] == pytest.approx([r.loss for r in eager.history], rel=1e-3)
    saved = load_checkpoint(tmp_path / "compiled" / "checkpoint.pt").model
    assert saved.keys() == load_checkpoint(tmp_path / "eager" / "checkpoint.pt").model.keys()


def test_without_a_compiler_the_key_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_function: object) -> object:
        def call(_x: torch.Tensor) -> None:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore")

        return call

    monkeypatch.setattr(torch, "compile", fail)
    progress = InterruptedAt()
    with pytest.raises(
        ConfigError, match=r"compile: torch\.compile does not work on cpu: Invalid.*`apt install"
    ):
        train(small_run(tmp_path, compile=True), tmp_path / "run", progress=progress)
    assert progress.seen == 0
    with pytest.raises(ConfigError, match="compile"):
        check_compiler(torch.device("cpu"))
