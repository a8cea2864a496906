"""What runs OpenVINO in a process of its own, see `fxbin.openvino.process`.

A folder holds the job:

    job.json, inputs.npz  ->  result.json, outputs.npz

Each job names its steps as it comes to them, and a step may take `time_limit` seconds.

Nothing here imports PyTorch, which takes several times as long to load as OpenVINO. So this package stands
beside `fxbin.openvino`, whose own imports need PyTorch.
"""
