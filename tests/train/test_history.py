from fxbin.train.history import EpochRecord, accuracy_after_stages, stage_spans


def record(stage: str, accuracy: float) -> EpochRecord:
    return EpochRecord("staged", 0, stage, 1e-3, 1e-5, 0.5, 90.0, accuracy, 1.0)


HISTORY = [record("full precision", 90.0), record("activations", 50.0), record("activations", 70.0)]


def test_accuracy_after_a_stage_is_that_of_its_last_epoch() -> None:
    assert accuracy_after_stages(HISTORY) == {"full precision": 90.0, "activations": 70.0}


def test_spans_are_runs_of_one_stage() -> None:
    assert stage_spans(HISTORY) == [("full precision", 0, 0), ("activations", 1, 2)]


def test_records_survive_json() -> None:
    assert EpochRecord(**HISTORY[0].to_dict()) == HISTORY[0]
